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

    Degrees 0 to degree - 1. Orthonormal on the unit sphere, degree by degree, order m from -l to l; degree 4 gives
    the 16 numbers of instant-ngp, up to the sign of odd orders. Computed by recurrence in Cartesian form, so there is
    no pole: finite values and gradients in every direction. The input is used as it is; a viewing direction is
    already unit.

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
        a, b, z = x[:, 0], x[:, 1], x[:, 2]
        # cosines[m] + i sines[m] = (x + i y)^m, which carries the sin^m of the polar angle
        cosines, sines = [torch.ones_like(z)], [torch.zeros_like(z)]
        for _ in range(1, self.degree):
            cosines, sines = (
                [*cosines, a * cosines[-1] - b * sines[-1]],
                [*sines, a * sines[-1] + b * cosines[-1]],
            )
        legendre = self._legendre(z)
        outputs = []
        for ell in range(self.degree):
            for m in range(-ell, ell + 1):
                k = abs(m)
                norm = math.sqrt((2 * ell + 1) / (4 * math.pi) * math.factorial(ell - k) / math.factorial(ell + k))
                azimuth = cosines[k] if m >= 0 else sines[k]
                outputs.append((norm if m == 0 else norm * math.sqrt(2.0)) * legendre[ell, k] * azimuth)
        return torch.stack(outputs, dim=-1)

    def _legendre(self, z: Tensor) -> dict[tuple[int, int], Tensor]:
        """Associated Legendre functions divided by sin^m (without the sign (-1)^m), by the usual recurrence in l."""
        p: dict[tuple[int, int], Tensor] = {}
        for m in range(self.degree):
            p[m, m] = torch.full_like(z, float(math.prod(range(1, 2 * m, 2))))
            for ell in range(m + 1, self.degree):
                below = p.get((ell - 2, m), torch.zeros_like(z))
                p[ell, m] = ((2 * ell - 1) * z * p[ell - 1, m] - (ell + m - 1) * below) / (ell - m)
        return p
