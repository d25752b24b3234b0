"""Camera paths: where to stand and look at, as camera-to-world poses (OpenGL axes)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from fieldengine.errors import DataError
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


def from_file(path: Path) -> list[Tensor]:
    """Poses of a JSON file: a list of 4x4 matrices, or a transforms.json with `frames[].transform_matrix`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as reason:
        raise DataError(path, "no such file. A path is `orbit`, `spiral`, or a JSON file of camera poses") from reason
    except (OSError, ValueError, RecursionError) as reason:
        raise DataError(path, f"cannot be read as JSON: {reason}") from reason
    try:
        rows = [frame["transform_matrix"] for frame in found["frames"]] if isinstance(found, dict) else found
        poses = torch.tensor(rows, dtype=torch.float32)
    except (TypeError, ValueError, KeyError, OverflowError, RuntimeError) as reason:
        raise DataError(path, "holds no list of 4x4 camera-to-world matrices") from reason
    if poses.ndim != 3 or poses.shape[1] not in (3, 4) or poses.shape[2] != 4 or not poses.isfinite().all():
        raise DataError(path, f"expected finite 4x4 matrices, found an array of shape {tuple(poses.shape)}")
    if bool((torch.linalg.det(poses[:, :3, :3]).abs() < 1e-6).any()):
        raise DataError(path, "holds a singular matrix; the first three columns of each must be a rotation")
    return list(poses[:, :3])


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
