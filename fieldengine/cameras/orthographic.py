"""The orthographic camera: parallel rays, as of a map or a tomograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Orthographic:
    """All rays look straight ahead: what is twice as far away is as large. No parameters.

    Its focal lengths are pixels per unit of length.
    """

    n_parameters: ClassVar[int] = 0

    def project(self, points: Tensor, parameters: Tensor) -> Tensor:
        return points[:, :2]

    def unproject(self, plane: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        nothing = torch.zeros_like(plane[:, :1])
        ahead = torch.cat([torch.zeros_like(plane), torch.ones_like(nothing)], dim=-1)
        return torch.cat([plane, nothing], dim=-1), ahead
