"""Cameras: from pixels to rays, for one camera and for all of a data set, in one routine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fieldengine.cameras.pinhole import Pinhole
from fieldengine.kinds.camera import CameraModel
from fieldengine.types import Rays, Rows

PINHOLE = Pinhole()
Pose = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
        pose: camera-to-world, 3 rows of 4 (OpenGL axes).
        fx, fy, cx, cy: focal lengths and centre in pixels.
        model, parameters: the camera model and its numbers for this lens; `name` is that under which it is installed.
    """

    pose: Pose
    height: int
    width: int
    fx: float
    fy: float
    cx: float
    cy: float
    name: str = "pinhole"
    parameters: tuple[float, ...] = ()
    model: CameraModel = dataclasses.field(default=PINHOLE, compare=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    def items(self, pixels: Tensor) -> Rays:
        """Rays through the middles of the pixels (n,), row by row; column j of row i is at (j + 0.5, i + 0.5)."""
        x = (pixels % self.width).float() + 0.5
        y = torch.div(pixels, self.width, rounding_mode="floor").float() + 0.5
        one = Cameras.of([self]).to(pixels.device)
        return one.rays(torch.zeros_like(pixels), x, y, named=False)

    def resized(self, *shape: int) -> Camera:
        """The same view cut into other pixels; both focal lengths follow the height, so that pixels stay square."""
        height, width = shape
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
        parts = asdict(replace(self, model=PINHOLE))
        del parts["model"]
        return {"kind": "camera", **parts}


@dataclass(frozen=True)
class Cameras(Rows):
    """Cameras of one model as tensors, a row each: those of a data set, whose images may have different sizes.

    Attributes:
        poses: (k, 3, 4) camera-to-world, OpenGL axes; may carry gradient.
        lenses: (k, 4), fx, fy, cx, cy in pixels.
        parameters: (k, p) of the camera model.
        sizes: (k, 2) int64, height and width in pixels.
        model: of all of them.
    """

    poses: Tensor
    lenses: Tensor
    parameters: Tensor
    sizes: Tensor
    model: CameraModel = PINHOLE

    @classmethod
    def of(cls, cameras: Sequence[Camera]) -> Cameras:
        """Raises ValueError where their models differ."""
        names = sorted({camera.name for camera in cameras})
        if len(names) > 1:
            raise ValueError(f"cameras of several models in one data set: {', '.join(names)}. Undistort the images")
        return cls(
            torch.stack([torch.tensor(camera.pose, dtype=torch.float32) for camera in cameras]),
            torch.tensor([[camera.fx, camera.fy, camera.cx, camera.cy] for camera in cameras]),
            torch.tensor([camera.parameters for camera in cameras], dtype=torch.float32),
            torch.tensor([camera.shape for camera in cameras]),
            cameras[0].model,
        )

    def rays(self, camera_indices: Tensor, x: Tensor, y: Tensor, *, named: bool = True) -> Rays:
        """Rays through places on the images, each in pixels from the upper left corner: column x, row y.

        Carries gradient to the poses, lenses and parameters. Directions are NaN where the lens has no such place.

        Args:
            camera_indices: (n,) int64, the row of each ray's camera.
            x, y: (n,), the middle of the first pixel is at 0.5.
            named: whether the rays keep their cameras' numbers.
        """
        pose = self.poses[camera_indices]
        fx, fy, cx, cy = self.lenses[camera_indices].unbind(-1)
        plane = torch.stack([(x - cx) / fx, (y - cy) / fy], dim=-1)
        origins, directions = self.model.unproject(plane, self.parameters[camera_indices])
        starts, world = pose[:, :, 3], self._turned(_opengl(directions), pose)
        if origins is not None:
            starts = starts + self._turned(_opengl(origins), pose)
        return Rays(starts, torch.nn.functional.normalize(world, dim=-1), camera_indices if named else None)

    def _turned(self, vectors: Tensor, pose: Tensor) -> Tensor:
        """Vectors (n, 3) from their cameras' axes to the world's, pose (n, 3, 4)."""
        if len(self) == 1:  # one product in place of n small ones
            return vectors @ self.poses[0, :, :3].T
        return (pose[:, :, :3] @ vectors[:, :, None])[:, :, 0]

    def project(self, camera_indices: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where points (n, 3) of the world appear, x (n,) and y (n,) in pixels. Carries gradient.

        Points behind a camera appear somewhere, too.
        """
        pose = self.poses[camera_indices]
        local = (pose[:, :, :3].transpose(1, 2) @ (points - pose[:, :, 3])[:, :, None])[:, :, 0]
        plane = self.model.project(_opengl(local), self.parameters[camera_indices])
        fx, fy, cx, cy = self.lenses[camera_indices].unbind(-1)
        return plane[:, 0] * fx + cx, plane[:, 1] * fy + cy

    def refuse_folded_lenses(self) -> None:
        """Raise ValueError where the border of an image lies beyond what its lens can show.

        Distortion whose numbers do not fit the image folds the plane over; pixels out there have no direction.
        """
        along = torch.linspace(0.0, 1.0, 17)
        top, left = torch.zeros(17), torch.zeros(17)
        across = torch.cat([along, along, left, left + 1.0])  # of the width and of the height, around the border
        down = torch.cat([top, top + 1.0, along, along])
        here = self.to("cpu")
        number = torch.arange(len(here)).repeat_interleave(len(across))
        height, width = here.sizes[number].unbind(-1)
        x, y = across.repeat(len(here)) * width, down.repeat(len(here)) * height
        with torch.no_grad():
            lost = ~here.rays(number, x, y).viewdirs.isfinite().all(dim=-1)
        if bool(lost.any()):
            place = int(lost.nonzero()[0])
            numbers = ", ".join(f"{value:.4g}" for value in here.parameters[number[place]].tolist())
            raise ValueError(
                f"camera {int(number[place])}: its distortion ({numbers}) folds the image over; the place at column "
                f"{float(x[place]):.0f}, row {float(y[place]):.0f} of {int(width[place])}x{int(height[place])} pixels "
                f"has no direction. Check the numbers and their order"
            )

    def _map(self, change: Any) -> Cameras:
        tensors = {name: change(getattr(self, name)) for name in ("poses", "lenses", "parameters", "sizes")}
        return replace(self, **tensors)


def _opengl(vectors: Tensor) -> Tensor:
    """From OpenCV's axes (x right, y down, z forward) to OpenGL's (x right, y up, z backward), or back: (m, 3)."""
    return vectors * vectors.new_tensor([1.0, -1.0, -1.0])
