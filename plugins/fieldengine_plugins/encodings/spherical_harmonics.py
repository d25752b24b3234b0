"""Real spherical harmonics of a direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn


@dataclass(frozen=True)
class SphericalHarmonics:
    """Real spherical harmonics, for viewing directions.

    Degrees l from 0 to degree - 1, each with orders m from -l to l, orthonormal on the unit sphere; degree 4 gives the
    16 numbers of instant-ngp, up to the sign of odd orders. Computed by recurrence in Cartesian form, without a pole:
    values and gradients are finite in every direction. The input is not normalised; viewing directions are unit
    vectors already.

    Scene: `direction_encoding: {type: spherical_harmonics, degree: 4}`
    """

    degree: Annotated[int, Field(ge=1, le=10)] = 4
    """number of degrees; degree^2 outputs"""

    def build(self, in_dim: int) -> nn.Module:
        if in_dim != 3:
            raise ValueError(f"spherical harmonics take a 3-D direction, not {in_dim}-D coordinates")
        return SphericalHarmonicsModule(self.degree)


class SphericalHarmonicsModule(nn.Module):
    def __init__(self, degree: int):
        super().__init__()
        self.degree = degree
        self.out_dim = degree**2

    def forward(self, x: Tensor) -> Tensor:
        """Unit directions (m, 3) -> (m, degree^2). Carries gradient to x."""
        a, b, z = x.t().contiguous().unbind(0)
        cosine, sine = torch.ones_like(z), torch.zeros_like(z)  # (x + i y)^m, which includes sin^m of the polar angle
        found: dict[tuple[int, int], Tensor] = {}
        for m in range(self.degree):
            if m == 1:
                cosine, sine = a, b
            elif m > 1:
                cosine, sine = torch.addcmul(a * cosine, b, sine, value=-1), torch.addcmul(a * sine, b, cosine)
            for ell, height in enumerate(self._legendre(m, z), start=m):
                found[ell, m] = height * cosine
                if m > 0:
                    found[ell, -m] = height * sine
        return torch.stack([found[ell, m] for ell in range(self.degree) for m in range(-ell, ell + 1)], dim=-1)

    def _legendre(self, m: int, z: Tensor) -> list[float | Tensor]:
        """Associated Legendre functions of order m and degrees m, m + 1, ... at z, divided by sin^m.

        Normalised, by recurrence in the degree; without the sign (-1)^m. The first one is a number.
        """
        product = math.prod((2 * k + 1) / (2 * k) for k in range(1, m + 1))
        p: list[float | Tensor] = [math.sqrt((2 if m else 1) * product / (4 * math.pi))]
        for ell in range(m + 1, self.degree):
            grow = math.sqrt((4 * ell**2 - 1) / (ell**2 - m**2))
            if ell == m + 1:
                p.append(z * (grow * p[0]))
                continue
            shrink = math.sqrt(((ell - 1) ** 2 - m**2) / (4 * (ell - 1) ** 2 - 1))
            p.append(torch.add(z * p[-1], p[-2], alpha=-shrink) * grow)
        return p
