"""Camera paths: where to stand and look at, as camera-to-world poses (OpenGL axes)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fieldengine.types import Domain


def look_at(eye: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """The pose (3, 4) of a camera at `eye` that looks at `target` with `up` upwards in the image."""
    back = torch.nn.functional.normalize(eye - target, dim=0)
    right = torch.linalg.cross(up, back)
    if torch.linalg.vector_norm(right) < 1e-6:  # looking along up: any right will do
        right = torch.linalg.cross(
            torch.tensor([1.0, 0.0, 0.0]) if abs(float(back[0])) < 0.9 else torch.tensor([0.0, 1.0, 0.0]), back
        )
    right = torch.nn.functional.normalize(right, dim=0)
    return torch.stack([right, torch.linalg.cross(back, right), back, eye], dim=1)


def orbit(domain: Domain, n: int) -> list[Tensor]:
    """A turntable: n poses evenly on a circle around the scene, all looking at its centre."""
    return [_on_sphere(domain, 2.0 * math.pi * i / n, domain.elevation, domain.radius) for i in range(n)]


def spiral(domain: Domain, n: int) -> list[Tensor]:
    """Two turns that rise from just above the horizon to high above while they come a little closer."""
    return [
        _on_sphere(domain, 4.0 * math.pi * s, 0.1 + 1.0 * s, domain.radius * (1.0 - 0.15 * math.sin(math.pi * s)))
        for s in (i / max(n - 1, 1) for i in range(n))
    ]


def _on_sphere(domain: Domain, azimuth: float, elevation: float, radius: float) -> Tensor:
    centre, up = torch.tensor(domain.centre), torch.nn.functional.normalize(torch.tensor(domain.up), dim=0)
    side = torch.linalg.cross(
        up, torch.tensor([1.0, 0.0, 0.0]) if abs(float(up[0])) < 0.9 else torch.tensor([0.0, 1.0, 0.0])
    )
    a = torch.nn.functional.normalize(side, dim=0)
    b = torch.linalg.cross(up, a)
    flat = math.cos(azimuth) * a + math.sin(azimuth) * b
    eye = centre + radius * (math.cos(elevation) * flat + math.sin(elevation) * up)
    return look_at(eye, centre, up)
