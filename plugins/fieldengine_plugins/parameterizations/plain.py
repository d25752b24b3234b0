"""Unchanged weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Plain:
    """Trains the weights themselves."""

    def apply(self, layers: Sequence[nn.Module], width: int) -> Sequence[nn.Module]:
        return layers
