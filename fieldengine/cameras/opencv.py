"""OpenCV's camera: radial and tangential distortion of a lens with straight lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fieldengine.cameras.newton import inverse


@dataclass(frozen=True)
class OpenCV:
    """Radial and tangential distortion, as OpenCV and COLMAP's FULL_OPENCV have them.

    Parameters in OpenCV's order: k1, k2, p1, p2, k3, k4, k5, k6; those of simpler models are zero. With r^2 = u^2 +
    v^2 of u = x / z, v = y / z: a = (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6), and u becomes
    a u + 2 p1 u v + p2 (r^2 + 2 u^2), v becomes a v + p1 (r^2 + 2 v^2) + 2 p2 u v (OpenCV, Camera Calibration and 3D
    Reconstruction). Undistorted by Newton's method.
    """

    n_parameters: ClassVar[int] = 8

    def project(self, points: Tensor, parameters: Tensor) -> Tensor:
        return distorted(points[:, :2] / points[:, 2:], parameters)

    def unproject(self, plane: Tensor, parameters: Tensor) -> tuple[None, Tensor]:
        straight = inverse(distorted, plane, parameters)
        return None, torch.cat([straight, torch.ones_like(straight[:, :1])], dim=-1)


def distorted(straight: Tensor, parameters: Tensor) -> Tensor:
    """Where a lens shows what a pinhole would show at (m, 2)."""
    u, v = straight.unbind(-1)
    k1, k2, p1, p2, k3, k4, k5, k6 = parameters.unbind(-1)
    r2 = u * u + v * v
    radial = (1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    bent_u = radial * u + 2.0 * p1 * u * v + p2 * (r2 + 2.0 * u * u)
    bent_v = radial * v + p1 * (r2 + 2.0 * v * v) + 2.0 * p2 * u * v
    return torch.stack([bent_u, bent_v], dim=-1)
