"""Items visited by particles that climb towards large losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import Batch, Domain, ErrorOracle, Rendered, RunContext
from fieldengine_plugins.hooks.batches import Growth, Share, batch_count, draw, everything, finite
from fieldengine_plugins.hooks.images import grey, image_shape, sobel

REBORN = 0.1  # share of the particles redrawn each step, uniformly; and of those with the least loss, at edges
SMALLEST = 9.8e-4  # error in [-1, 1] below which importance no longer grows
LEAST_WEIGHT = 0.2


@dataclass(frozen=True)
class SoftMining:
    """Pixels visited by Langevin particles, with importance weights: soft mining, for one image.

    Kheradmand et al. 2024, Accelerating Neural Field Training via Soft Mining.
    Particles p in [0, 1]^2 move by p += attraction d(log loss)/dx / n + noise N(0, 1), n the batch size. The gradient
    is exact, in the field's coordinates; back-propagation yields it for the step's own items. The last tenth of the
    particles is redrawn uniformly; those outside, and the tenth with the least loss, are redrawn in proportion to the
    size of the image's Sobel gradients. A step takes the pixel nearest to each particle. The cotangent of an item is
    multiplied by e^-r, with e its mean |f - y| in [-1, 1], at least 9.8e-4, and r = min(t / warmup, softness); the
    weight is clamped between 0.2 and mean + standard deviation.

    Differences from the code that EVOS compares with:
      - no item is taken twice: of particles that share a pixel, all but the first move to free pixels, drawn uniformly;
      - pixels are numbered row by row on images of any shape (H y + x there is right only on square ones);
      - the upper bound of the weights is that of the step before, whose errors are known without a second pass;
      - gradients are divided by the loss, there by the loss times the weight.
    The hook is also the run's gradient transform. Meant for `training.loss: mse`.

    Scene: `training: {batch_size: full, hooks: [{type: soft_mining, fraction: 0.2}]}`
    """

    fraction: Share = 0.2
    """share of `training.batch_size`, or of the rays that the renderer can afford, that a step takes"""
    growth: Growth = "constant"
    """how the share grows to 1 over the training; step: in ten equal stages, the last a tenth of the way below 1"""
    attraction: Annotated[float, Field(ge=0)] = 20.0
    """how far particles climb, a"""
    noise: Annotated[float, Field(ge=0)] = 0.02
    """standard deviation of their random steps, in sides of the image, b"""
    softness: Annotated[float, Field(ge=0, le=1)] = 0.6
    """exponent of the importance weights: 0 weights all equally, 1 undoes the choice"""
    warmup: Annotated[int, Field(ge=1)] = 1000
    """steps per unit of the exponent while it rises"""

    def build(self, *, domain: Domain, n_items: int, steps: int, context: RunContext) -> SoftMiningSampler:
        return SoftMiningSampler(self, image_shape(domain, n_items, "soft_mining"), steps, context)


class SoftMiningSampler:
    """Holds the particles (k, 2) as (row, column), and of the last step the errors and losses (k,) of their items and
    the gradients of the logarithms of those losses (k, 2), over k."""

    span: Literal["item"] = "item"

    def __init__(self, options: SoftMining, shape: tuple[int, int], steps: int, context: RunContext):
        self.options, self.shape, self.steps, self.context = options, shape, steps, context
        self.particles = torch.empty(0, 2, device=context.device)
        self.errors = self.losses = self.weights = torch.empty(0, device=context.device)
        self.positions: Tensor | None = None
        self.slopes = torch.empty(0, 2, device=context.device)
        self.edges: Tensor | None = None

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        k = batch_count(n, self.options.fraction, self.options.growth, step, self.steps)
        if len(self.errors):
            self._move(step, scores)
        missing = max(0, k - len(self.particles))
        self.particles = torch.cat([self.particles, self._random(missing, 2)])[:k]
        indices, again = self._pixels()
        indices[again] = draw(
            scores.n_items, int(again.sum()), self.context.generator, self.context.device, taken=indices[~again]
        )
        self.particles[again] = self._places(indices[again])
        return indices

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> None:
        self.exponent = min((step + 1) / self.options.warmup, self.options.softness)
        before = self._importance(self.errors)
        self.most = float(before.mean() + before.std()) if len(before) > 1 else float("inf")
        self.errors, self.losses, self.weights = (torch.zeros(len(batch), device=self.context.device) for _ in range(3))
        self.positions = batch.items.positions.requires_grad_()  # pyright: ignore[reportAttributeAccessIssue]

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
        residuals = rendered.values.detach().float() - batch.targets
        self.errors[rows] = 2.0 * residuals.abs().mean(dim=-1)  # errors in [0, 1], here in [-1, 1]
        self.losses[rows] = residuals.square().mean(dim=-1)
        self.weights[rows] = self._importance(self.errors[rows]).clamp(LEAST_WEIGHT, self.most)
        return self.weights[rows][:, None] * cotangent

    def _importance(self, errors: Tensor) -> Tensor:
        return errors.clamp(min=SMALLEST).pow(-self.exponent)

    def _log_slopes(self) -> Tensor:
        """(k, 2): the gradients at the positions of the last step, over weight and loss."""
        if self.positions is None or self.positions.grad is None:
            return self.slopes
        found = self.weights * self.losses + torch.finfo(torch.float32).eps
        return self.positions.grad / found[:, None]

    def _move(self, step: int, scores: ErrorOracle) -> None:
        k = len(self.particles)
        finite(self.errors, "soft_mining", step)
        slopes = finite(self._log_slopes(), "soft_mining", step)
        moved = self.particles + self.options.attraction * slopes + self.options.noise * self._random(k, 2, normal=True)
        lost = ((moved < 0) | (moved > 1)).any(dim=1)
        lost[self.losses.topk(int(REBORN * k), largest=False).indices] = True
        moved[lost] = self._at_edges(int(lost.sum()), scores)
        n_reborn = int(REBORN * k)
        moved[k - n_reborn :] = self._random(n_reborn, 2)
        self.particles, self.positions = moved, None

    def _at_edges(self, n: int, scores: ErrorOracle) -> Tensor:
        """(n, 2) places drawn in proportion to the size of the image's gradients; uniformly if it has none."""
        if self.edges is None:
            down, right = sobel(grey(scores.targets(everything(scores.n_items, self.context.device)), self.shape))
            self.edges = ((down.square() + right.square()).sqrt() + 1e-6).flatten().double().cumsum(0)
        drawn = self._random(n).double() * self.edges[-1]
        return self._places(torch.searchsorted(self.edges, drawn, right=True).clamp(max=len(self.edges) - 1))

    def _pixels(self) -> tuple[Tensor, Tensor]:
        """The pixel nearest to each particle (k,), and whether an earlier particle has the same one (k,)."""
        most = torch.tensor([self.shape[0] - 1, self.shape[1] - 1], device=self.particles.device)
        row, column = (self.particles.clamp(0.0, 1.0) * most).round().long().unbind(dim=1)
        indices = row * self.shape[1] + column
        order = indices.argsort(stable=True)
        again = torch.zeros_like(indices, dtype=torch.bool)
        again[order[1:]] = indices[order[1:]] == indices[order[:-1]]
        return indices, again

    def _places(self, indices: Tensor) -> Tensor:
        height, width = self.shape
        row, column = torch.div(indices, width, rounding_mode="floor"), indices % width
        return torch.stack([row / max(height - 1, 1), column / max(width - 1, 1)], dim=1)

    def _random(self, *size: int, normal: bool = False) -> Tensor:
        make = torch.randn if normal else torch.rand
        return make(*size, generator=self.context.generator).to(self.context.device)

    def state_dict(self) -> dict[str, Any]:
        parts = {"particles": self.particles, "errors": self.errors, "losses": self.losses, "weights": self.weights}
        return {**parts, "slopes": self._log_slopes()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("particles", "errors", "losses", "weights", "slopes"):
            setattr(self, name, state[name].to(self.context.device))
        self.positions = None
