"""Triangle waves of the coordinates: sines and cosines without their curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import Encoding


@dataclass(frozen=True)
class Triangle:
    """Triangle waves at growing frequencies.

    Each coordinate at octaves 2^0 .. 2^(L-1), in two phases a quarter of a period apart, as sine and cosine are.

    Scene: `encoding: {type: triangle, octaves: 6}`
    """

    api_version: ClassVar[int] = 1

    octaves: Annotated[int, Field(ge=1, le=20)] = 6
    """number of frequencies L"""

    def build(self, in_dim: int) -> Encoding:
        return TriangleModule(self.octaves, in_dim)


class TriangleModule(nn.Module):
    def __init__(self, octaves: int, in_dim: int):
        super().__init__()
        self.octaves = octaves
        self.out_dim = 2 * octaves * in_dim

    def forward(self, x: Tensor) -> Tensor:
        """(m, d) in [-1, 1] -> (m, 2 L d) in [-1, 1]. Carries gradient to x."""
        phases = torch.cat([0.5 * x * 2.0**i + shift for i in range(self.octaves) for shift in (0.0, 0.25)], dim=-1)
        return 4.0 * (phases - phases.detach().floor() - 0.5).abs() - 1.0
