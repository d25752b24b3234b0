"""OpenCV's fisheye camera: a place on the image is an angle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fieldengine.cameras.newton import inverse


@dataclass(frozen=True)
class OpenCVFisheye:
    """Equidistant projection with four parameters k1 to k4, as OpenCV's fisheye and COLMAP's OPENCV_FISHEYE have it.

    With theta the angle from straight ahead, a place lies theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4
    theta^8) from the centre (Kannala and Brandt 2006). Sees sideways and behind, up to theta = pi.
    """

    n_parameters: ClassVar[int] = 4

    def project(self, points: Tensor, parameters: Tensor) -> Tensor:
        # never zero, so that straight ahead the ratio and its slope are those of small angles
        beside = (points[:, :2].square().sum(dim=-1, keepdim=True) + 1e-24).sqrt()
        theta = torch.atan2(beside, points[:, 2:])
        return bent(theta, parameters) / beside * points[:, :2]

    def unproject(self, plane: Tensor, parameters: Tensor) -> tuple[None, Tensor]:
        radius = torch.linalg.vector_norm(plane, dim=-1, keepdim=True)
        theta = inverse(bent, radius, parameters)
        theta = torch.where((theta >= 0) & (theta <= math.pi), theta, torch.nan)
        factor = torch.where(radius > 0, torch.sin(theta) / radius.clamp(min=1e-12), 1.0)
        return None, torch.cat([factor * plane, torch.cos(theta)], dim=-1)


def bent(theta: Tensor, parameters: Tensor) -> Tensor:
    """How far from the centre an angle (m, 1) appears."""
    k1, k2, k3, k4 = (parameters[:, i : i + 1] for i in range(4))
    t2 = theta * theta
    return theta * (1.0 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
