"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from fieldengine.config.scene import Schedule


def lr_factor(schedule: Schedule, step: int, steps: int) -> float:
    """What `training.lr` is multiplied with at a step (from 0) of `steps`."""
    share = min(step / steps, 1.0)
    if schedule.decay == "exponential":
        factor = schedule.final**share
    elif schedule.decay == "cosine":
        factor = schedule.final + (1.0 - schedule.final) * 0.5 * (1.0 + math.cos(math.pi * share))
    elif schedule.decay == "milestones":
        factor = schedule.final ** sum(share >= milestone for milestone in schedule.milestones)
    else:
        factor = 1.0
    return factor * min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else factor
