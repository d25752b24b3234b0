"""Edge pixels slightly more often than others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fieldengine.api import Domain, ErrorOracle, RunContext
from fieldengine_plugins.hooks.batches import Growth, Share, batch_count, everything
from fieldengine_plugins.hooks.edges import canny
from fieldengine_plugins.hooks.images import grey, image_shape


@dataclass(frozen=True)
class Egra:
    """Pixels drawn without repetition, edges more often: EGRA-NeRF (Gai et al. 2023), for one image.

    A pixel's weight is s E + (1 - s) 4096 / 640000, with E one on Canny's edges and zero elsewhere and s `edge_weight`:
    by default an edge is 1.39 times as likely as the rest. Each step shifts all edges by the same random 6 to 9 pixel
    numbers, that is to the right, and past the end of a row into the next one. This follows the code that EVOS compares
    with; that code draws by torch.multinomial, which supports at most 2^24 pixels.

    Scene: `training: {batch_size: full, hooks: [{type: egra, fraction: 0.2}]}`
    """

    fraction: Share = 0.2
    """share of `training.batch_size`, or of the rays that the renderer can afford, that a step takes"""
    growth: Growth = "constant"
    """how the share grows to 1 over the training; step: in ten equal stages, the last a tenth of the way below 1"""
    edge_weight: Annotated[float, Field(ge=0, lt=1)] = 0.0025
    """s above; 0 draws uniformly"""
    low: Annotated[float, Field(ge=0)] = 30.0
    """Canny's lower threshold, for grey values of 0 to 255"""
    high: Annotated[float, Field(ge=0)] = 40.0
    """Canny's upper threshold"""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g})")

    def build(self, *, domain: Domain, n_items: int, steps: int, context: RunContext) -> EgraSampler:
        return EgraSampler(self, image_shape(domain, n_items, "egra"), steps, context)


class EgraSampler:
    """Stores only the edges, which follow from the targets and are found again after a resume."""

    def __init__(self, options: Egra, shape: tuple[int, int], steps: int, context: RunContext):
        self.options, self.shape, self.steps, self.context = options, shape, steps, context
        self.edges: Tensor | None = None

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        options, generator, n_items = self.options, self.context.generator, scores.n_items
        if self.edges is None:
            targets = scores.targets(everything(n_items, self.context.device))
            image = grey(targets, self.shape).round()
            self.edges = canny(image, options.low, options.high).flatten().nonzero().squeeze(1)
        shift = int(torch.randint(6, 10, (), generator=generator))
        s = options.edge_weight
        weights = torch.full((n_items,), (1.0 - s) * 4096 / 640000, device=self.context.device)
        weights[(self.edges + shift) % n_items] += s
        # the first k arrivals after exponential times with the weights as rates: drawn without repetition
        arrivals = torch.empty(n_items).exponential_(generator=generator).to(weights) / weights
        k = batch_count(n, options.fraction, options.growth, step, self.steps)
        return arrivals.topk(k, largest=False).indices
