"""Several encodings side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fieldengine.api import EncodingOptions


@dataclass(frozen=True)
class Concat:
    """Several encodings of the same coordinates, concatenated.

    Scene: `encoding: {type: concat, parts: [identity, {type: hash_grid, n_levels: 8}]}`
    """

    parts: tuple[EncodingOptions, ...]
    """the encodings, in the order of their outputs"""

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("parts is empty; name at least one encoding")

    def build(self, in_dim: int) -> nn.Module:
        return ConcatModule([part.build(in_dim) for part in self.parts])


class ConcatModule(nn.Module):
    def __init__(self, parts: list[Any]):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.out_dim = sum(part.out_dim for part in parts)

    def forward(self, x: Tensor) -> Tensor:
        """(m, d) in [-1, 1] -> (m, sum of the parts' outputs)."""
        return torch.cat([part(x) for part in self.parts], dim=-1)
