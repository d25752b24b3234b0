"""Items whose values a gradient step on all data would change most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import Batch, Domain, ErrorOracle, Rendered, RunContext
from fieldengine_plugins.hooks.batches import (
    Growth,
    Share,
    batch_count,
    draw,
    everything,
    finite,
    mind_scoring_all,
    pool_of,
)
from fieldengine_plugins.hooks.rounds import Rounds

LEAST_SHARE = 1e-3  # below it the published code no longer evaluates the kernel


@dataclass(frozen=True)
class Nint:
    """Batches guided by the tangent kernel: NINT, NTK-Guided Implicit Neural Teaching (Zhang et al.).

    Item i has the score |sum_j K_ij r_j|, the norm over channels, with K = J J^T the kernel of all rendered values and
    r = f - y (algorithm 1): how far its value moves in a step on all items. J^T r and J (J^T r) give it exactly, tile
    by tile, without forming K, at the cost of about three gradients of all scored items. A batch has three parts, each
    item at most once: a share s(t) with the highest scores; the largest errors, sum over channels of |r|;
    `random_share` (xi) drawn uniformly. Scores are computed every `interval` (alpha) steps, and the items they choose
    are reused in between.

    Where paper and published code differ, the default follows the code, which produced the published numbers:
      - `schedule: paper`: s(t) = (1 - xi) exp(-decay t / alpha), t from 0: 30 percent of the first batch;
      - `schedule: code`: s = (1 - xi) exp(floor(-decay c / alpha)), where c counts calls from 1 and is the last one
        that was 1 or a multiple of alpha: 11.0 percent at calls 1 and 10, then 4.1, 1.5, 0.55, 0.20 at 20 to 50. Below
        0.1 percent, from call 60 on, scores are no longer computed, and the shrinking rest uses the last ones. So the
        kernel is evaluated six times; after that NINT uses only errors and random draws.
    The code evaluates the errors of all items before every step, as `score_every: 1` does.

    For very many items, rays or points, set `candidates`: scores and errors are then those of a random pool, with K of
    the pool alone. The uniform part still comes from all items, and so does what a small pool lacks.

    `scoring: batch` is ours and costs only the evaluations of the kernel. Evaluating all errors costs more time than it
    gains: uniform draws of as many items get further in the same time. So no errors are evaluated in advance. The
    uniform part and the error part become one: items come in rounds, each once per round, every batch spread evenly.
    Each item is weighted by its own error: its cotangent is multiplied by its sum over channels of |r| over the mean of
    that sum in the step before, at most `emphasis`. On average this equals a choice by errors, with less randomness.
    The kernel is evaluated on `candidates` random items; null is as many as a batch has. The hook is then also the
    run's gradient transform.

    Scene: `training: {batch_size: full, hooks: [{type: nint, fraction: 0.2}]}`
    """

    fraction: Share = 0.2
    """share of `training.batch_size`, or of the rays that the renderer can afford, that a step takes"""
    growth: Growth = "constant"
    """how the share grows to 1 over the training; step: in ten equal stages, the last a tenth of the way below 1"""
    scoring: Literal["all", "batch"] = "all"
    """all: take the worst of all items, or of the candidates, as published; batch: weight items by their errors"""
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.7
    """share of the batch drawn uniformly, xi; with scoring: batch all that the kernel does not choose"""
    decay: Annotated[float, Field(ge=0)] = 1.0
    """how fast the kernel's share decays, lambda"""
    interval: Annotated[int, Field(ge=1)] = 10
    """steps from one evaluation of the kernel to the next, alpha"""
    schedule: Literal["code", "paper"] = "code"
    """how the kernel's share decays, see above"""
    score_every: Annotated[int, Field(ge=1)] = 1
    """scoring: all; steps between evaluations of errors; 1 renders all before each step, most of the work"""
    candidates: Annotated[int, Field(ge=1)] | None = None
    """score this many random items, redrawn at each evaluation; null is all of them, with scoring: batch as many as a
    batch has"""
    emphasis: Annotated[float, Field(ge=1)] = 2.0
    """scoring: batch; the largest weight of an item, in multiples of the mean; with 1 weights only decrease"""

    def build(self, *, domain: Domain, n_items: int, steps: int, context: RunContext) -> NintSampler | NintWeights:
        if self.scoring == "batch" and self.score_every != 1:
            raise ValueError("score_every is for scoring: all; with scoring: batch no errors are looked up")
        if self.scoring == "all" and self.emphasis != 2.0:
            raise ValueError("emphasis is for scoring: batch; with scoring: all items have no weights")
        if self.scoring == "batch":
            return NintWeights(self, domain, n_items, steps, context)
        mind_scoring_all(domain, n_items, self.candidates, "nint", context)
        return NintSampler(self, n_items, steps, context)


class NintSampler:
    """Holds the scored pool (p,), None for all items, its errors (p,), and the items the kernel chose."""

    def __init__(self, options: Nint, n_items: int, steps: int, context: RunContext):
        self.options, self.n_items, self.steps, self.context = options, n_items, steps, context
        self.pool: Tensor | None = None
        self.errors = torch.empty(0, device=context.device)
        self.guided = torch.empty(0, dtype=torch.int64, device=context.device)

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        k, n_guided, n_worst, due = sizes(self.options, n, step, self.steps)
        if k == self.n_items:
            return everything(k, self.context.device)
        if due or (self.options.random_share < 1 and (not len(self.errors) or step % self.options.score_every == 0)):
            items = self._scored_next()
            residuals = finite(scores.residuals(items), "nint", step)
            self.errors = residuals.abs().sum(dim=-1)
            if due:
                self.guided = guided(items, residuals, n_guided, step, scores)
        chosen = self.guided[:n_guided]
        chosen = torch.cat([chosen, self._worst(n_worst, chosen)])
        others = draw(self.n_items, k - len(chosen), self.context.generator, self.context.device, taken=chosen)
        return torch.cat([chosen, others])

    def _scored_next(self) -> Tensor:
        context = self.context
        items = pool_of(self.n_items, self.options.candidates, context.generator, context.device)
        self.pool = items if len(items) < self.n_items else None
        return items

    def _worst(self, n: int, taken: Tensor) -> Tensor:
        """The n items of the pool with the largest errors, without those taken; fewer if it holds fewer."""
        errors = self.errors.clone()
        if self.pool is None:
            errors[taken] = -1.0
            return errors.topk(min(n, self.n_items - len(taken))).indices
        held = torch.isin(self.pool, taken)
        places = errors.masked_fill(held, -1.0).topk(min(n, len(held) - int(held.sum()))).indices
        return self.pool[places]

    def state_dict(self) -> dict[str, Any]:
        pool = {} if self.pool is None else {"pool": self.pool}
        return {"errors": self.errors, "guided": self.guided, **pool}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.context.device
        self.errors, self.guided = state["errors"].to(device), state["guided"].to(device)
        self.pool = state["pool"].to(device) if "pool" in state else None


class NintWeights:
    """Items in rounds, weighted by their errors. Holds the errors (k,) of the last step and what the kernel chose."""

    span: Literal["item"] = "item"

    def __init__(self, options: Nint, domain: Domain, n_items: int, steps: int, context: RunContext):
        self.options, self.n_items, self.steps, self.context = options, n_items, steps, context
        self.rounds = Rounds(domain, n_items, context)
        self.errors = torch.empty(0, device=context.device)
        self.guided = torch.empty(0, dtype=torch.int64, device=context.device)

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        k, n_guided, _, due = sizes(self.options, n, step, self.steps)
        if k == self.n_items:
            return everything(k, self.context.device)
        if due:
            items = pool_of(self.n_items, self.options.candidates or k, self.context.generator, self.context.device)
            residuals = finite(scores.residuals(items), "nint", step)
            self.guided = guided(items, residuals, n_guided, step, scores)
        chosen = self.guided[:n_guided]
        return torch.cat([chosen, self.rounds.take(k - len(chosen), without=chosen)])

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> None:
        # of the step before: errors change little in one step, and tiles stay independent
        self.mean = float(finite(self.errors, "nint", step).mean()) if len(self.errors) else 0.0
        self.errors = torch.zeros(len(batch), device=self.context.device)

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
        errors = (rendered.values.detach().float() - batch.targets).abs().sum(dim=-1)
        self.errors[rows] = errors
        if self.mean == 0.0:  # the first step, or nothing left to learn
            return cotangent
        return cotangent * (errors / self.mean).clamp(max=self.options.emphasis)[:, None]

    def state_dict(self) -> dict[str, Any]:
        return {"errors": self.errors, "guided": self.guided, "rounds": self.rounds.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.context.device
        self.errors, self.guided = state["errors"].to(device), state["guided"].to(device)
        self.rounds.load_state_dict(state["rounds"])


def guided(items: Tensor, residuals: Tensor, n: int, step: int, scores: ErrorOracle) -> Tensor:
    """The n of these items (p,) with residuals (p, c) whose values a step on all of them would change most."""
    change = finite(scores.tangent(items, residuals), "nint", step).norm(dim=-1)
    return items[change.topk(min(n, len(items))).indices]


def sizes(options: Nint, n: int, step: int, steps: int) -> tuple[int, int, int, bool]:
    """How many items a step takes, how many of them by kernel and by errors, and whether the kernel is due."""
    k = batch_count(n, options.fraction, options.growth, step, steps)
    share, due = kernel_share(options, step)
    n_guided, n_worst = int(share * k), max(0, int((1.0 - options.random_share - share) * k + 1e-6))
    return k, n_guided, n_worst, due and n_guided > 0


def kernel_share(options: Nint, step: int) -> tuple[float, bool]:
    """The share of the batch that the kernel chooses at a step (from 0), and whether scores are recomputed."""
    alpha, most = options.interval, 1.0 - options.random_share
    if options.schedule == "paper":
        return most * math.exp(-options.decay * step / alpha), step % alpha == 0
    call = step + 1
    last = max(1, call - call % alpha)
    share = most * math.exp(math.floor(-options.decay * last / alpha))
    return share, call == last and share >= LEAST_SHARE
