"""Learned polynomials of the coordinates that modulate a ReLU network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Chebyshev:
    """A learned Chebyshev series whose values multiply the input of every later layer, SL2A.

    Heidari et al. 2024, SL2A-INR: Single-Layer Learnable Activation for Implicit Neural Representation.

    First layer: psi_j(x) = sum_i sum_k a_jik T_k(tanh(x_i)), degrees 0 to K by the recurrence T_k+1 = 2u T_k - T_k-1.
    psi is carried along with the units h, so a layer of `width` w has w / 2 units.
    Later layers: ReLU of a linear map of h * psi, of low rank if `rank` is set. The series starts at
    a_jik ~ N(0, 1 / (d (K + 1))). A degree K follows about K / 2 waves across the box; 256 to 512 are usual for images.

    Scene: `activation: {type: chebyshev, degree: 256}`
    """

    degree: Annotated[int, Field(ge=1, le=4096)] = 256
    """degree K of the series"""
    rank: Annotated[int, Field(ge=1)] | None = None
    """rank of the later layers' maps; null is full rank"""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        if out_dim % 2:
            raise ValueError(f"width {out_dim} cannot be halved into units and their factors; take an even one")
        if is_first:
            return Series(in_dim, out_dim // 2, self.degree)
        return Modulated(in_dim // 2, out_dim // 2, self.rank)

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return FromState(in_dim // 2, out_dim)


class Series(nn.Module):
    """(m, in_dim) -> (m, 2 out_dim): the state h, which starts as psi, and psi."""

    def __init__(self, in_dim: int, out_dim: int, degree: int):
        super().__init__()
        self.degree = degree
        spread = 1.0 / math.sqrt(in_dim * (degree + 1))
        self.coefficients = nn.Parameter(spread * torch.randn(out_dim, in_dim * (degree + 1)))

    def forward(self, x: Tensor) -> Tensor:
        u = torch.tanh(x)
        terms = [torch.ones_like(u), u]
        for _ in range(self.degree - 1):
            terms.append(2.0 * u * terms[-1] - terms[-2])
        psi = functional.linear(torch.cat(terms, dim=-1), self.coefficients)
        return torch.cat([psi, psi], dim=-1)


class Modulated(nn.Module):
    """(m, 2 in_dim) -> (m, 2 out_dim): h, psi to max(0, W (h * psi) + b), psi; psi is mapped if the width changes."""

    def __init__(self, in_dim: int, out_dim: int, rank: int | None):
        super().__init__()
        self.carry = nn.Identity() if in_dim == out_dim else nn.Linear(in_dim, out_dim, bias=False)
        if rank is None:
            self.map: nn.Module = nn.Linear(in_dim, out_dim)
        else:
            self.map = nn.Sequential(nn.Linear(in_dim, rank, bias=False), nn.Linear(rank, out_dim))

    def forward(self, x: Tensor) -> Tensor:
        h, psi = x.chunk(2, dim=-1)
        return torch.cat([torch.relu(self.map(h * psi)), self.carry(psi)], dim=-1)


class FromState(nn.Linear):
    """(m, 2 in_dim) -> (m, out_dim): a linear map of the state without psi."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input[..., : self.in_features])
