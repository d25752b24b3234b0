"""Items chosen by evolution: the worst survive, others are drawn at random, and all are evaluated at intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import UNCHANGED, Batch, Domain, ErrorOracle, Order, Rendered, RunContext
from fieldengine_plugins.hooks.batches import Growth, Share, batch_count, draw, everything, finite
from fieldengine_plugins.hooks.images import grey, grey_weights, image_shape, laplacian

LAPLACIAN_WEIGHT = 1e-5  # of squared Laplacian errors in 0..255, relative to squared errors in [-1, 1]


@dataclass(frozen=True)
class Evos:
    """Evolutionary selection: EVOS (Zhang et al. 2025), for one image.

    If t mod I(t) = 1, with t from 1 and I(t) = int(interval + (final_interval - interval) t / T), the step takes ALL
    pixels and ranks them (a fitness step). Other steps take the best-ranked pixels, and `mutation` of the first share
    drawn uniformly from the rest. The ranking crosses two: with k' surviving pixels, those among both the k' largest
    squared errors e and the k' largest Laplacian errors l come first; then the fraction mean(e) / (mean(e) + mean(l))
    of the missing ones by e, the rest by l; then all others by e. l = 1e-5 (Lap f - Lap y)^2 of grey values in 0..255,
    zero outside; the Laplacian is linear, so residuals suffice. A ranking costs an extra forward pass of all pixels,
    which the published code saves by ranking what it trains on anyway.

    `cfs: true` adds the cross-frequency loss, `weight` times the mean squared Laplacian error over the step's pixels,
    at fitness steps and, until step `cfs_steps`, at the others. There, as in the published code, pixels outside the
    batch have the values of the last fitness step. Such a step costs a second forward pass of its batch. With `cfs` the
    hook is also the run's gradient transform. The published code fits [-1, 1], where squared errors are four times
    those in [0, 1], so a fourth of the weight applies here. Meant for `training.loss: mse`.

    Two details follow the code, not the paper: the mutated share does not grow with the batch, and fitness steps keep
    the cross-frequency loss after `cfs_steps`. EVOS' own tables have fraction 0.5, or 0.2 with `growth: step`; the
    default is that of NINT's comparison.

    Scene: `training: {batch_size: full, hooks: [{type: evos, fraction: 0.2, cfs: false}]}`
    """

    fraction: Share = 0.2
    """share of `training.batch_size`, or of the rays that the renderer can afford, that a step takes"""
    growth: Growth = "constant"
    """how the share grows to 1 over the training; step: in ten equal stages, the last a tenth of the way below 1"""
    interval: Annotated[int, Field(ge=2)] = 100
    """steps from one fitness step to the next, at the start"""
    final_interval: Annotated[int, Field(ge=2)] = 50
    """steps from one fitness step to the next, at the end"""
    mutation: Annotated[float, Field(ge=0, le=1)] = 0.5
    """share of the first batch that is drawn uniformly"""
    cfs: bool = True
    """whether the cross-frequency loss is added"""
    weight: Annotated[float, Field(ge=0)] = LAPLACIAN_WEIGHT
    """weight of the cross-frequency loss"""
    cfs_steps: Annotated[int, Field(ge=0)] = 1500
    """steps with the cross-frequency loss; later only steps that take all pixels have it"""

    def build(self, *, domain: Domain, n_items: int, steps: int, context: RunContext) -> EvosSampler:
        kind = CrossFrequencyEvosSampler if self.cfs else EvosSampler
        return kind(self, image_shape(domain, n_items, "evos"), steps, context)


class EvosSampler:
    """Holds the ranking (n,), best first, and with `cfs` the residuals (n, c) of the last fitness step."""

    def __init__(self, options: Evos, shape: tuple[int, int], steps: int, context: RunContext):
        self.options, self.shape, self.steps, self.context = options, shape, steps, context
        self.ranking = torch.empty(0, dtype=torch.int64, device=context.device)
        self.residuals = torch.empty(0, device=context.device)

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        options, n_items = self.options, scores.n_items
        k = batch_count(n, options.fraction, options.growth, step, self.steps)
        surviving = k - min(int(options.mutation * options.fraction * n), k)
        if self.is_fitness_step(step):
            found = everything(n_items, self.context.device)
            residuals = finite(scores.residuals(found), "evos", step)
            self.ranking = crossover(residuals, self.shape, surviving)
            if options.cfs:
                self.residuals = residuals
            return found
        if k == n_items:
            return everything(k, self.context.device)
        best = self.ranking[:surviving]
        drawn = draw(n_items, k - surviving, self.context.generator, self.context.device, taken=best)
        return torch.cat([best, drawn])

    def is_fitness_step(self, step: int) -> bool:
        options, t = self.options, step + 1
        interval = int(options.interval + (options.final_interval - options.interval) * t / max(self.steps, 1))
        return t % interval == 1 or not len(self.ranking)

    def state_dict(self) -> dict[str, Any]:
        return {"ranking": self.ranking, "residuals": self.residuals}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ranking = state["ranking"].to(self.context.device)
        self.residuals = state["residuals"].to(self.context.device)


class CrossFrequencyEvosSampler(EvosSampler):
    span: Literal["batch"] = "batch"

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> Order:
        active = step < self.options.cfs_steps or len(batch) == len(self.residuals)
        return None if active else UNCHANGED  # without the loss no forward pass is needed

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
        indices = batch.indices
        image = self.residuals.clone()
        image[indices] = (rendered.values - batch.targets).to(image)
        errors = laplacian(grey(image, self.shape)).flatten()
        counted = torch.zeros_like(errors)
        counted[indices] = errors[indices]
        # gradient of weight * mean(errors^2): grey is 255 w . f, and the Laplacian is its own transpose
        slope = 2.0 * 255.0 * laplacian(counted.view(self.shape)).flatten()[indices] / len(indices)
        return cotangent + 0.25 * self.options.weight * slope[:, None] * grey_weights(image.shape[1], image)


def crossover(residuals: Tensor, shape: tuple[int, int], surviving: int) -> Tensor:
    """Residuals (n, c) of an image in [0, 1] -> its pixels (n,), best-ranked first."""
    errors = 4.0 * residuals.square().mean(dim=-1)
    edges = LAPLACIAN_WEIGHT * laplacian(grey(residuals, shape)).flatten().square()
    by_error = errors.argsort(descending=True, stable=True)
    first, second = by_error[:surviving], edges.argsort(descending=True, stable=True)[:surviving]
    both = first[torch.isin(first, second)]
    only_first, only_second = first[~torch.isin(first, second)], second[~torch.isin(second, first)]
    total = float(errors.mean() + edges.mean())
    n_first = int(len(only_first) * (float(errors.mean()) / total if total > 0 else 1.0))
    best = torch.cat([both, only_first[:n_first], only_second[: len(only_first) - n_first]])
    return torch.cat([best, by_error[~torch.isin(by_error, best)]])
