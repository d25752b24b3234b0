"""The coordinates themselves."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Identity:
    """Coordinates in [-1, 1], unchanged.

    For periodic activations, which need no encoding.

    Scene: `encoding: identity`
    """

    def build(self, in_dim: int) -> nn.Module:
        return IdentityModule(in_dim)


class IdentityModule(nn.Module):
    def __init__(self, in_dim: int):
        super().__init__()
        self.out_dim = in_dim

    def forward(self, x: Tensor) -> Tensor:
        """(m, d) -> (m, d)."""
        return x
