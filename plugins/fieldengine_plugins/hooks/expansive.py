"""The strongest edges in every step, and other pixels drawn uniformly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from fieldengine.api import Domain, ErrorOracle, RunContext
from fieldengine_plugins.hooks.batches import Growth, Share, batch_count, draw, everything
from fieldengine_plugins.hooks.edges import canny, otsu, thickened
from fieldengine_plugins.hooks.images import grey, image_shape

LARGEST = 2040.0  # |dy| + |dx| of Sobel's gradients on 0..255
HALVINGS = 24


@dataclass(frozen=True)
class Expansive:
    """A fixed set of edge pixels in every batch, the rest drawn uniformly: Expansive Supervision, for one image.

    Zhang et al. 2025, Expansive Supervision for Neural Radiance Fields. The set is (1 - random_share) of the first
    batch: Canny's edges, thickened 2x2, at thresholds (t / 2, t) that give 0.8 to 1.2 times as many pixels, of which a
    random subset is kept. The published code moves t step by step from Otsu's threshold; here t also starts there, and
    bisection ends equally close to the area. If an image has too few edges, or if the batch grows, the missing pixels
    are drawn uniformly.

    Scene: `training: {batch_size: full, hooks: [{type: expansive, fraction: 0.2, random_share: 0.7}]}`
    """

    fraction: Share = 0.2
    """share of `training.batch_size`, or of the rays that the renderer can afford, that a step takes"""
    growth: Growth = "constant"
    """how the share grows to 1 over the training; step: in ten equal stages, the last a tenth of the way below 1"""
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """share of the first batch that is not edges, xi in NINT's comparison"""

    def build(self, *, domain: Domain, n_items: int, steps: int, context: RunContext) -> ExpansiveSampler:
        return ExpansiveSampler(self, image_shape(domain, n_items, "expansive"), steps, context)


class ExpansiveSampler:
    def __init__(self, options: Expansive, shape: tuple[int, int], steps: int, context: RunContext):
        self.options, self.shape, self.steps, self.context = options, shape, steps, context
        self.anchor: Tensor | None = None

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        options, generator, device = self.options, self.context.generator, self.context.device
        if self.anchor is None:
            targets = scores.targets(everything(scores.n_items, device))
            wanted = int((1.0 - options.random_share) * options.fraction * n)
            found = edges_of_area(grey(targets, self.shape).round(), wanted).flatten().nonzero().squeeze(1)
            self.anchor = found[torch.randperm(len(found), generator=generator)[:wanted].to(device)]
        k = batch_count(n, options.fraction, options.growth, step, self.steps)
        anchor = self.anchor[:k]
        return torch.cat([anchor, draw(scores.n_items, k - len(anchor), generator, device, taken=anchor)])

    def state_dict(self) -> dict[str, Any]:
        return {} if self.anchor is None else {"anchor": self.anchor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.anchor = state["anchor"].to(self.context.device) if "anchor" in state else None


def edges_of_area(image: Tensor, wanted: int) -> Tensor:
    """Thickened edges (h, w) of an image in 0..255, 0.8 to 1.2 times as many as wanted; if no threshold gives that
    many, more rather than fewer."""
    low, high, threshold = 0.0, LARGEST, otsu(image)
    best, best_gap = torch.zeros_like(image, dtype=torch.bool), float("inf")
    for _ in range(HALVINGS if wanted else 0):
        edges = thickened(canny(image, 0.5 * threshold, threshold))
        area = int(edges.sum())
        gap = area / wanted - 1.0 if area >= wanted else 2.0 - area / wanted
        if 0.8 * wanted <= area <= 1.2 * wanted:
            return edges
        if gap < best_gap:
            best, best_gap = edges, gap
        low, high = (threshold, high) if area > wanted else (low, threshold)
        threshold = 0.5 * (low + high)
    return best
