"""An exponential moving average of the weights, which is what gets evaluated and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Ema:
    """Averages the parameters of a module: average <- decay average + (1 - decay) weights, less decay at the start.

    With decay 0 it does nothing and costs nothing.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.module, self.decay, self.updates = module, decay, 0
        self.average = {name: p.detach().clone() for name, p in module.named_parameters()} if decay else {}

    @torch.no_grad()
    def update(self) -> None:
        if not self.decay:
            return
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))  # the first weights are soon forgotten
        for name, parameter in self.module.named_parameters():
            self.average[name].lerp_(parameter, 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds the average inside the block, and its own weights again after it."""
        if not self.decay:
            yield
            return
        own = {name: p.detach().clone() for name, p in self.module.named_parameters()}
        self._copy(self.average)
        try:
            yield
        finally:
            self._copy(own)

    def adopt(self) -> None:
        """The module keeps the average for good."""
        if self.decay:
            self._copy(self.average)

    @torch.no_grad()
    def _copy(self, source: dict[str, Tensor]) -> None:
        for name, parameter in self.module.named_parameters():
            parameter.copy_(source[name])

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        for name, value in state["average"].items():
            self.average[name].copy_(value)
