"""The rectifier, the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Relu:
    """max(0, Wx + b), the baseline.

    torch's default initialisation. Shows fine detail only behind an encoding.

    Scene: `activation: relu`
    """

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        return nn.Sequential(nn.Linear(in_dim, out_dim), nn.ReLU())

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return nn.Linear(in_dim, out_dim)
