"""Random Fourier features with a fixed matrix (Tancik et al. 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import Candidates


@dataclass(frozen=True)
class Fourier:
    """Random Fourier features.

    sin(2 pi B x), cos(2 pi B x) with B ~ N(0, sigma^2) drawn once.
    Tancik et al. 2020, Fourier Features Let Networks Learn High Frequency Functions, Eq. 5. B is a buffer, saved and
    moved with the field. Raise sigma for finer detail; too large a sigma adds noise.

    Scene: `encoding: {type: fourier, n_features: 256, sigma: 10}`
    """

    n_features: Annotated[int, Field(ge=2, multiple_of=2)] = 256
    """outputs, half of them sines"""
    sigma: Annotated[float, Field(gt=0), Candidates(1, 2, 4, 6, 8, 10, 15, 20, 30, 40)] = 10.0
    """standard deviation of B, in cycles over half the box"""

    def build(self, in_dim: int) -> nn.Module:
        return FourierModule(self, in_dim)


class FourierModule(nn.Module):
    projection: Tensor

    def __init__(self, options: Fourier, in_dim: int):
        super().__init__()
        self.out_dim = options.n_features
        self.highest_frequency = 2.0 * math.pi * options.sigma  # one standard deviation; some lie beyond
        self.register_buffer("projection", 2.0 * math.pi * options.sigma * torch.randn(options.n_features // 2, in_dim))

    def forward(self, x: Tensor) -> Tensor:
        """(m, d) in [-1, 1] -> (m, n_features) in [-1, 1]. Carries gradient to x."""
        phase = x @ self.projection.T
        return torch.cat([torch.sin(phase), torch.cos(phase)], dim=-1)
