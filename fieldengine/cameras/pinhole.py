"""The pinhole camera: straight rays through one point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pinhole:
    """Straight lines stay straight: x / z and y / z. No parameters."""

    n_parameters: ClassVar[int] = 0

    def project(self, points: Tensor, parameters: Tensor) -> Tensor:
        return points[:, :2] / points[:, 2:]

    def unproject(self, plane: Tensor, parameters: Tensor) -> tuple[None, Tensor]:
        return None, torch.cat([plane, torch.ones_like(plane[:, :1])], dim=-1)
