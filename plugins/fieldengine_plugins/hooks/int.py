"""The items that are fitted worst."""

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
    pool_of,
    refuse_to_score_all,
)

PHASES = 5


@dataclass(frozen=True)
class Int:
    """The items with the largest sum over channels of |f - y|: INT, nonparametric teaching (Zhang et al. 2024).

    `refresh: incremental`, as the published code: errors are looked up in every step of the first quarter of the
    training, and then every 10, 20, 30, 40, 50 steps in five equal phases; in between the same items are taken again.
    A look-up renders all items, or `candidates` of them, without gradients: about a third of the cost of training on
    as many. Growth in steps is the published default too; other samplers here keep their share.

    Scene: `training: {batch_size: full, hooks: [{type: int, fraction: 0.2, refresh: dense}]}`
    """

    fraction: Share = 0.2
    """share of training.batch_size that a step takes"""
    growth: Growth = "step"
    """how the share grows from there to 1 over the training"""
    refresh: Literal["incremental", "dense"] = "incremental"
    """look errors up ever more seldom, or (dense) before every step; also wherever the share has grown"""
    candidates: Annotated[int, Field(ge=1)] | None = None
    """look up this many random items, anew each time; null is all: exact, but slow where there are many"""

    def build(self, *, domain: Domain, n_items: int, steps: int, context: RunContext) -> IntSampler:
        refuse_to_score_all(domain, n_items, self.candidates, "int")
        return IntSampler(self, steps, context)


class IntSampler:
    def __init__(self, options: Int, steps: int, context: RunContext):
        self.options, self.steps, self.context = options, steps, context
        self.chosen = torch.empty(0, dtype=torch.int64, device=context.device)

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        options, generator, device = self.options, self.context.generator, self.context.device
        k = batch_count(n, options.fraction, options.growth, step, self.steps)
        if k == scores.n_items:
            return everything(k, device)
        if step % self.interval(step) == 0 or len(self.chosen) != k:
            pool = pool_of(scores.n_items, options.candidates, generator, device)
            errors = finite(scores.residuals(pool).abs().sum(dim=-1), "int", step)
            worst = pool[errors.topk(min(k, len(pool))).indices]
            self.chosen = torch.cat([worst, draw(scores.n_items, k - len(worst), generator, device, taken=worst)])
        return self.chosen

    def interval(self, step: int) -> int:
        """Steps from one look-up to the next."""
        late = step / max(self.steps, 1) - 0.25
        if self.options.refresh == "dense" or late < 0:
            return 1
        return 10 * (1 + min(PHASES - 1, int(late / 0.75 * PHASES)))

    def state_dict(self) -> dict[str, Any]:
        return {"chosen": self.chosen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.chosen = state["chosen"].to(self.context.device)
