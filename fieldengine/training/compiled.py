"""Whether torch.compile pays for what happens in a tile, and a field that is compiled."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from fieldengine.training.fit import Fit
from fieldengine.training.trial import on_trial, seconds

ANSWERS = ("values", "density", "rgb", "sdf")
EXPECTED_SAVING = 0.3  # of a tile's time
EXPECTED_COST = 60.0  # seconds it takes to compile


class CompiledField:
    """A field whose answers are compiled when they are first asked for; all else is the field's own."""

    def __init__(self, field: nn.Module):
        self._field = field
        for name in ANSWERS:
            if hasattr(field, name):
                setattr(self, name, torch.compile(getattr(field, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._field, name)


def choose_compiled(fit: Fit, wanted: str, steps_left: int) -> str | None:
    """Compile the field for the steps to come, or not. Returns what there is to say about it.

    `auto` tries where the steps to come take so long that compiling them should pay, and stays with what is faster. On
    a CPU it does not try: kernels are compiled there already, and torch leaves them as they are.
    """
    if wanted == "off" or (wanted == "auto" and fit.context.device.type == "cpu"):
        return None
    n = min(fit.tile, fit.batch_size)
    with on_trial(fit):
        eager = seconds(fit, n)
        rest = eager * steps_left * fit.batch_size / n
        if wanted == "auto" and rest * EXPECTED_SAVING < EXPECTED_COST:
            return None
        started = time.perf_counter()
        fit.traced = CompiledField(fit.field)
        try:
            compiled = seconds(fit, n)
        except (TorchDynamoException, OSError) as reason:
            fit.traced = fit.field
            return f"not compiled, for torch.compile failed: {str(reason).strip().splitlines()[0]}"
        took = time.perf_counter() - started
    if wanted == "auto" and compiled >= eager:
        fit.traced = fit.field
        return "not compiled: compiled code is no faster here"
    return f"compiled in {took:.0f} s; a tile takes {1e3 * compiled:.1f} ms instead of {1e3 * eager:.1f}"
