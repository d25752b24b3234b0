"""Grids of points: the pixels of an image, the samples of a sound, the voxels of a video or a volume."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from fieldengine.types import Points

Placement = Literal["corners", "centres", "isotropic"]


@dataclass(frozen=True)
class SignalGrid:
    """Points of a signal of 1 to 4 dimensions, an axis per dimension; of an image (row, column).

    `placement` says which coordinates pixels have; all of them lie in [-1, 1]:
        corners     the outermost pixels sit at -1 and 1, on every axis (the custom of image-fitting papers)
        centres     the signal's edges are at -1 and 1, pixel i sits at (i + 0.5) / n
        isotropic   as corners on the longest side, with the same spacing on the others, around 0
    `measured` are the pixels that the data had; `shape` those asked for.
    """

    shape: tuple[int, ...]
    measured: tuple[int, ...]
    placement: Placement = "corners"

    @classmethod
    def of(cls, shape: tuple[int, ...], placement: Placement = "corners") -> SignalGrid:
        """The grid of data of this shape."""
        return cls(tuple(shape), tuple(shape), placement)

    def items(self, pixels: Tensor) -> Points:
        """Positions (n, d) of the pixels (n,), the last axis fastest."""
        axes = []
        for axis, n in reversed(list(enumerate(self.shape))):
            index = pixels if axis == 0 else pixels % n
            axes.append(self._axis(index, n, self.measured[axis]))
            pixels = torch.div(pixels, n, rounding_mode="floor")
        return Points(torch.stack(axes[::-1], -1))

    def _axis(self, index: Tensor, asked: int, had: int) -> Tensor:
        # where the middle of a pixel falls, counted in pixels of the data; a finer grid may reach half a pixel outside
        place = (index.double() + 0.5) * (had / asked) - 0.5
        if self.placement == "centres":
            unit = (place + 0.5) * (2.0 / had) - 1.0
        elif self.placement == "corners":
            unit = place * (2.0 / (had - 1)) - 1.0
        else:
            unit = (place - 0.5 * (had - 1)) * (2.0 / (max(self.measured) - 1))
        return unit.clamp(-1.0, 1.0).float()

    def resized(self, *shape: int) -> SignalGrid:
        return replace(self, shape=tuple(shape))

    def describe(self) -> dict[str, Any]:
        return {"kind": "grid", **asdict(self)}

    @property
    def nyquist_limit(self) -> float:
        """The highest frequency that its pixels can tell from a lower one, in radians over a unit of [-1, 1].

        Of the axis with the finest pixels.
        """
        corner, *beside = self.items(torch.tensor([0, *self._steps()])).positions
        return math.pi / min(float((other - corner).norm()) for other in beside)

    def _steps(self) -> list[int]:
        """How far apart the numbers of neighbours along each axis are."""
        return [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)) if self.shape[axis] > 1]
