"""Picture planes: a pinhole camera, whose pixels are rays, and a flat grid, whose pixels are points.

Both answer the same questions (`fieldengine.types.Sensor`), so nothing above needs to know which it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from fieldengine.types import Points, Rays, Sensor


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: `pose` is camera-to-world, 3 rows of 4 (OpenGL axes); focal lengths and centre in pixels."""

    pose: tuple[tuple[float, ...], ...]
    height: int
    width: int
    fx: float
    fy: float
    cx: float
    cy: float

    def items(self, pixels: Tensor) -> Rays:
        """Rays through the middles of the pixels (n,), row by row; column j of row i is at (j + 0.5, i + 0.5)."""
        pose = torch.tensor(self.pose, dtype=torch.float32, device=pixels.device)
        x = (pixels % self.width).float() + 0.5
        y = torch.div(pixels, self.width, rounding_mode="floor").float() + 0.5
        local = torch.stack([(x - self.cx) / self.fx, (self.cy - y) / self.fy, -torch.ones_like(x)], dim=-1)
        world = local @ pose[:, :3].T
        return Rays(pose[:, 3].expand_as(world), torch.nn.functional.normalize(world, dim=-1))

    def resized(self, height: int, width: int) -> Camera:
        """The same view cut into other pixels; both focal lengths follow the height, so that pixels stay square."""
        factor = height / self.height
        shift = 0.5 * (width - self.width * factor)
        return replace(
            self,
            height=height,
            width=width,
            fx=self.fx * factor,
            fy=self.fy * factor,
            cx=self.cx * factor + shift,
            cy=self.cy * factor,
        )

    def at(self, pose: Tensor) -> Camera:
        """The same lens elsewhere; `pose` is (3, 4) or (4, 4)."""
        return replace(self, pose=tuple(tuple(float(v) for v in row) for row in pose[:3].tolist()))

    def describe(self) -> dict[str, Any]:
        return {"kind": "camera", **asdict(self)}


@dataclass(frozen=True)
class PointGrid:
    """A picture whose pixels are points (row, column) of the plane, one axis per side.

    `placement` says which coordinates pixels have; all of them lie in [-1, 1]:
        corners     the outermost pixels sit at -1 and 1, on both axes (the custom of image-fitting papers)
        centres     the picture's edges are at -1 and 1, pixel i sits at (i + 0.5) / n
        isotropic   as corners on the longer side, with the same spacing on the shorter one, around 0
    `rows` and `columns` are the pixels the data had; `height` and `width` those asked for.
    """

    height: int
    width: int
    rows: int
    columns: int
    placement: Literal["corners", "centres", "isotropic"] = "corners"

    def items(self, pixels: Tensor) -> Points:
        """Positions (n, 2) of the pixels (n,), row by row."""
        row = torch.div(pixels, self.width, rounding_mode="floor")
        column = pixels % self.width
        return Points(
            torch.stack([self._axis(row, self.height, self.rows), self._axis(column, self.width, self.columns)], -1)
        )

    def _axis(self, index: Tensor, asked: int, had: int) -> Tensor:
        # where the middle of a pixel falls, counted in pixels of the data; a finer grid may reach half a pixel outside
        place = (index.double() + 0.5) * (had / asked) - 0.5
        if self.placement == "centres":
            unit = (place + 0.5) * (2.0 / had) - 1.0
        elif self.placement == "corners":
            unit = place * (2.0 / (had - 1)) - 1.0
        else:
            unit = (place - 0.5 * (had - 1)) * (2.0 / (max(self.rows, self.columns) - 1))
        return unit.clamp(-1.0, 1.0).float()

    def resized(self, height: int, width: int) -> PointGrid:
        return replace(self, height=height, width=width)

    def describe(self) -> dict[str, Any]:
        return {"kind": "grid", **asdict(self)}


def restore(description: Mapping[str, Any]) -> Sensor:
    """The inverse of `Sensor.describe`. Raises ValueError for what it does not know."""
    parts = dict(description)
    kind = parts.pop("kind", None)
    if kind == "camera":
        return Camera(**{**parts, "pose": tuple(tuple(row) for row in parts["pose"])})
    if kind == "grid":
        return PointGrid(**parts)
    raise ValueError(f'no sensor "{kind}"')
