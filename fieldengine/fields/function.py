"""A trained field as a function of points, as one calls it by hand: any leading shape, any kind of number."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldengine.kinds.field import RadianceField, SurfaceField
from fieldengine.types import Aabb

AT_ONCE = 1 << 18  # points that are asked for at once where no graph is kept


class FieldFunction(nn.Module):
    """A field: points (..., d) in the data's own coordinates -> what it is there.

    The signed distance (...) of a surface, the density (...) of a radiance field, the values (..., c) of a signal.
    Numbers of other types are cast to that of the weights; a numpy array comes back as one, without gradient. In
    evaluation mode, in which fields are trained to the end and loaded, gradients are true derivatives, also of
    higher order and under `torch.func`.

    Outside its box, where it was never fitted, a signed distance goes on as that of the nearest point of the box plus
    the distance to it, a density is zero, and a signal is whatever its network makes of the coordinates.

    Attributes:
        network: the module that was trained; its own attributes are found here, too.
        aabb: the box it was fitted in.
    """

    def __init__(self, network: nn.Module, aabb: Aabb):
        super().__init__()
        self.network, self.aabb = network, aabb
        self.training = network.training

    def forward(self, points: Any) -> Any:
        """Points (..., d), a tensor or what numpy makes an array of. Raises ValueError for other shapes and types."""
        if not isinstance(points, Tensor):
            with torch.no_grad():
                x = self._checked(torch.from_numpy(_numbers(points)).to(self._weight.device))
                return self(x).cpu().numpy()
        x = self._checked(points)
        rows = x.reshape(-1, x.shape[-1])
        if torch.is_grad_enabled() or len(rows) <= AT_ONCE:
            y = self._answer(rows)
        else:
            y = torch.cat([self._answer(part) for part in rows.split(AT_ONCE)])
        return y.reshape((*x.shape[:-1], *y.shape[1:]))

    def _answer(self, x: Tensor) -> Tensor:
        network: Any = self.network
        if isinstance(network, SurfaceField):
            near = torch.minimum(torch.maximum(x, self.aabb.lower.to(x)), self.aabb.upper.to(x))
            squared = (x - near).square().sum(dim=-1)
            away = squared > 0
            # a square root of zero has no slope, not even where it is not chosen
            return network.sdf(near)[0] + torch.where(away, torch.where(away, squared, 1.0).sqrt(), 0.0)
        return network.density(x)[0] if isinstance(network, RadianceField) else network.values(x)

    def _checked(self, points: Tensor) -> Tensor:
        d, weight = self.aabb.dim, self._weight
        if points.ndim == 0 or points.shape[-1] != d:
            raise ValueError(f"expected points of shape (..., {d}), found {tuple(points.shape)}")
        if points.is_complex() or points.dtype == torch.bool:
            raise ValueError(f"expected points of real numbers, found {points.dtype}")
        if points.device != weight.device:
            raise ValueError(f"the field is on {weight.device} and the points are on {points.device}; move one of them")
        return points.to(weight.dtype)

    @property
    def _weight(self) -> Tensor:
        """Any of the numbers it computes with."""
        return next((p for p in self.network.parameters() if p.is_floating_point()), self.aabb.lower)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "network":  # not there yet, as while it is copied
                raise
            return getattr(self.network, name)


def _numbers(points: Any) -> np.ndarray:
    found = np.asarray(points)
    if found.dtype.kind not in "fiu":
        raise ValueError(f"expected points of real numbers, found {found.dtype}")
    return np.ascontiguousarray(found, dtype=np.float64)
