"""The worst-fitted items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fieldengine.api import Domain, ErrorOracle, RunContext
from fieldengine_plugins.hooks.batches import (
    Growth,
    Share,
    batch_count,
    draw,
    everything,
    finite,
    mind_scoring_all,
    pool_of,
    share_at,
)

PHASES = 5


@dataclass(frozen=True)
class Int:
    """The items with the largest sum over channels of |f - y|: INT, nonparametric teaching (Zhang et al. 2024).

    `refresh: incremental` follows the published code: errors are evaluated in every step of the first quarter of the
    training, then every 10, 20, 30, 40, 50 steps in five equal phases; in between the same items are reused. An
    evaluation renders all items, or `candidates` of them, without gradients: about a third of the cost of training on
    as many. `growth: step` is the published default too; other samplers here keep their share.

    Scene: `training: {batch_size: full, hooks: [{type: int, fraction: 0.2, refresh: dense}]}`
    """

    fraction: Share = 0.2
    """share of `training.batch_size`, or of the rays that the renderer can afford, that a step takes"""
    growth: Growth = "step"
    """how the share grows to 1 over the training; step: in ten equal stages, the last a tenth of the way below 1"""
    refresh: Literal["incremental", "dense"] = "incremental"
    """evaluate errors ever more rarely, or (dense) before every step; also whenever the share has grown"""
    candidates: Annotated[int, Field(ge=1)] | None = None
    """evaluate this many random items, redrawn each time; null is all: exact, but slow for many items"""

    def build(self, *, domain: Domain, n_items: int, steps: int, context: RunContext) -> IntSampler:
        mind_scoring_all(domain, n_items, self.candidates, "int", context)
        return IntSampler(self, steps, context)


class IntSampler:
    """Holds the items taken last (k,), the worst first, and the share of items at their evaluation."""

    def __init__(self, options: Int, steps: int, context: RunContext):
        self.options, self.steps, self.context = options, steps, context
        self.chosen, self.share = torch.empty(0, dtype=torch.int64, device=context.device), 0.0

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        options, generator, device = self.options, self.context.generator, self.context.device
        k = batch_count(n, options.fraction, options.growth, step, self.steps)
        if k == scores.n_items:
            return everything(k, device)
        share = share_at(options.fraction, options.growth, step, self.steps)
        if step % self.interval(step) == 0 or share > self.share:
            self.share = share
            pool = pool_of(scores.n_items, options.candidates, generator, device)
            errors = finite(scores.residuals(pool).abs().sum(dim=-1), "int", step)
            worst = pool[errors.topk(min(k, len(pool))).indices]
            self.chosen = worst
        # needed if the pool is small, or if a step affords more rays than the last evaluated one
        missing = draw(scores.n_items, max(0, k - len(self.chosen)), generator, device, taken=self.chosen)
        self.chosen = torch.cat([self.chosen, missing])
        return self.chosen[:k]

    def interval(self, step: int) -> int:
        """Steps from one evaluation of errors to the next."""
        late = step / max(self.steps, 1) - 0.25
        if self.options.refresh == "dense" or late < 0:
            return 1
        return 10 * (1 + min(PHASES - 1, int(late / 0.75 * PHASES)))

    def state_dict(self) -> dict[str, Any]:
        return {"chosen": self.chosen, "share": self.share}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.chosen, self.share = state["chosen"].to(self.context.device), state["share"]
