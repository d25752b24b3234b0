"""What batch samplers share: batch sizes, distinct random items, and checks of scores."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from fieldengine.api import Domain, RunContext, TrainingError

Share = Annotated[float, Field(gt=0, le=1)]
Growth = Literal["constant", "linear", "step", "cosine"]
STAGES = 10
MANY, SLOW = 1 << 17, 1 << 14  # rays or points: too many to render before a step; enough to take long


def batch_count(n: int, fraction: float, growth: Growth, step: int, steps: int) -> int:
    """How many of `n` items step number `step` (from 0) of `steps` takes: int(share n), at least one."""
    return max(1, int(share_at(fraction, growth, step, steps) * n + 1e-9))  # 0.29 * 100 is less than 29


def share_at(fraction: float, growth: Growth, step: int, steps: int) -> float:
    """The share of the items that a step takes.

    It starts at `fraction`. constant: no growth; linear: reaches 1 at the end; step: grows in ten equal stages, the
    last a tenth of the way below 1; cosine: reaches 1 along half a wave.
    """
    done = min(step / max(steps, 1), 1.0)
    if growth == "linear":
        return fraction + done * (1.0 - fraction)
    if growth == "step":
        return fraction + math.floor(STAGES * done) / STAGES * (1.0 - fraction)
    if growth == "cosine":
        return 1.0 - (1.0 - fraction) * 0.5 * (1.0 + math.cos(math.pi * done))
    return fraction


def draw(n_items: int, k: int, generator: Generator, device: torch.device, taken: Tensor | None = None) -> Tensor:
    """k distinct items (k,), drawn uniformly from the `n_items` without those `taken`, which are distinct too.

    Costs as much as k numbers if that is less than a quarter of the items, else as much as all of them.
    """
    held = torch.empty(0, dtype=torch.int64, device=device) if taken is None else taken
    if 4 * (k + len(held)) >= n_items:
        free = torch.ones(n_items, dtype=torch.bool, device=device)
        free[held] = False
        left = free.nonzero().squeeze(1)
        return left[torch.randperm(len(left), generator=generator)[:k].to(device)]
    found = torch.empty(0, dtype=torch.int64, device=device)
    while len(found) < k:  # redraw what is missing; the same distribution as one draw after another
        more = torch.randint(n_items, (k - len(found),), generator=generator).to(device)
        found = torch.cat([found, more[~torch.isin(more, held)]]).unique()
    return found


def everything(n_items: int, device: torch.device) -> Tensor:
    """All items in order, (n_items,)."""
    return torch.arange(n_items, device=device)


def pool_of(n_items: int, wanted: int | None, generator: Generator, device: torch.device) -> Tensor:
    """The items to score: all in order if `wanted` is None or no fewer, else as many drawn uniformly."""
    return (
        everything(n_items, device) if wanted is None or wanted >= n_items else draw(n_items, wanted, generator, device)
    )


def mind_scoring_all(domain: Domain, n_items: int, candidates: int | None, name: str, context: RunContext) -> None:
    """Warn if all of many items are to be scored and they are not the pixels of one image.

    Raises ValueError if they are too many.
    """
    if candidates is not None or n_items <= SLOW or domain.image_shape(n_items) is not None:
        return
    advice = "Set `candidates: 2048`, or so, to score as many random ones"
    if n_items > MANY:
        raise ValueError(f"{name} would render all {n_items:,} items to score them, which outlasts training. {advice}")
    context.warn_once(f"{name} renders all {n_items:,} items to score them, each time. {advice}")


def finite(scores: Tensor, name: str, step: int) -> Tensor:
    """The scores, unchanged. Raises TrainingError if some are not finite and so cannot be ranked."""
    if not bool(scores.isfinite().all()):
        bad = int((~scores.isfinite()).sum())
        raise TrainingError(
            f"{name}: {bad} of {scores.numel()} scores are not finite at step {step}, so the field has diverged. Lower "
            f"training.lr, or set training.clip; checkpoints from before are kept"
        )
    return scores
