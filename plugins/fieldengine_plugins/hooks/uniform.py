"""A share of the items, drawn uniformly."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fieldengine.api import ErrorOracle, RunContext
from fieldengine_plugins.hooks.batches import Growth, Share, batch_count, draw


@dataclass(frozen=True)
class Uniform:
    """A share of the batch, drawn uniformly without repetition: the baseline of other samplers.

    Without a sampler the engine draws `training.batch_size` items with repetition.

    Scene: `training: {batch_size: full, hooks: [{type: uniform, fraction: 0.2}]}`
    """

    fraction: Share = 0.2
    """share of `training.batch_size`, or of the rays that the renderer can afford, that a step takes"""
    growth: Growth = "constant"
    """how the share grows to 1 over the training; step: in ten equal stages, the last a tenth of the way below 1"""

    def build(self, *, steps: int, context: RunContext) -> UniformShare:
        return UniformShare(self, steps, context)


class UniformShare:
    def __init__(self, options: Uniform, steps: int, context: RunContext):
        self.options, self.steps, self.context = options, steps, context

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        k = batch_count(n, self.options.fraction, self.options.growth, step, self.steps)
        return draw(scores.n_items, k, self.context.generator, self.context.device)
