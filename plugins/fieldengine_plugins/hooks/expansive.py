"""All of the strongest edges in every step, and other pixels drawn evenly."""

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

LARGEST = 2040.0  # |dy| + |dx| of Sobel's slopes on 0..255
HALVINGS = 24


@dataclass(frozen=True)
class Expansive:
    """A fixed set of edge pixels in every batch, the rest drawn evenly: Expansive Supervision, for one image.

    Zhang et al. 2025, Expansive Supervision for Neural Radiance Fields. The set is (1 - random_share) of the first
    batch: Canny's edges, 2x2 thickened, at thresholds (t / 2, t) that give 0.8 to 1.2 times as many pixels, of which a
    random choice stays. The published code moves t step by step from Otsu's threshold; here it begins there too and
    the interval is halved, which ends at an area as near. Where an image has too few edges, what is missing is drawn
    evenly; where the batch grows, what comes is too.

    Scene: `training: {batch_size: full, hooks: [{type: expansive, fraction: 0.2, random_share: 0.7}]}`
    """

    fraction: Share = 0.2
    """share that is taken of training.batch_size, or of the rays that the renderer affords in a step"""
    growth: Growth = "constant"
    """how the share grows from there over the training, to 1; by step, in ten stages, to a tenth of the way below"""
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """share of the first batch that is no edge, xi of NINT's comparison"""

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
    """Thickened edges (h, w) of an image in 0..255, 0.8 to 1.2 times as many as wanted; where no threshold gives so
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
