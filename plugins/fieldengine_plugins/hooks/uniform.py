"""A share of the items, drawn evenly."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fieldengine.api import ErrorOracle, RunContext
from fieldengine_plugins.hooks.batches import Growth, Share, batch_count, draw


@dataclass(frozen=True)
class Uniform:
    """A share of the batch, drawn evenly and without repetition: what other samplers are compared with.

    Without a sampler the engine draws `training.batch_size` items with repetition.

    Scene: `training: {batch_size: full, hooks: [{type: uniform, fraction: 0.2}]}`
    """

    fraction: Share = 0.2
    """share that is taken of training.batch_size, or of the rays that the renderer affords in a step"""
    growth: Growth = "constant"
    """how the share grows from there over the training, to 1; by step, in ten stages, to a tenth of the way below"""

    def build(self, *, steps: int, context: RunContext) -> UniformShare:
        return UniformShare(self, steps, context)


class UniformShare:
    def __init__(self, options: Uniform, steps: int, context: RunContext):
        self.options, self.steps, self.context = options, steps, context

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        k = batch_count(n, self.options.fraction, self.options.growth, step, self.steps)
        return draw(scores.n_items, k, self.context.generator, self.context.device)
