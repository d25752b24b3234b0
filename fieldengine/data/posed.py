"""Posed pictures: what every multi-view format becomes once its files are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from fieldengine.data.pictures import color, over, to_float
from fieldengine.rendering.paths import orbit
from fieldengine.rendering.sensors import Camera
from fieldengine.types import Aabb, Batch, Domain, Rays, View

TURNTABLE_UP = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class PosedImages:
    """Pictures of one size (n, h, w, 4), uint8, colour already multiplied by alpha, and the camera of each."""

    names: tuple[str, ...]
    cameras: tuple[Camera, ...]
    pictures: Tensor


class PosedDataset:
    """Rays of the training pictures, numbered picture by picture and row by row.

    Behind transparent pixels lies `background`. With `random_background` each training ray gets a random colour
    behind it, in target and rendering alike: then fog of the background's colour is not a way to lower the loss.
    """

    shape = None

    def __init__(
        self,
        splits: Mapping[str, PosedImages],
        *,
        aabb: Aabb,
        background: str | tuple[float, float, float],
        random_background: bool,
        notes: Sequence[str] = (),
    ):
        self._splits = splits
        self._notes = list(notes)
        train = splits["train"]
        self._pixels = train.pictures.reshape(-1, 4)
        self._per_picture = train.pictures.shape[1] * train.pictures.shape[2]
        self._poses = torch.stack([torch.tensor(camera.pose) for camera in train.cameras]).to(self._pixels.device)
        self._lenses = torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in train.cameras], device=self._pixels.device)
        self._width = train.pictures.shape[2]
        self.n_items = len(self._pixels)
        self.background = color(background).to(self._pixels.device)
        self.random_background = random_background and bool((train.pictures[..., 3] < 255).any())
        self.domain = _domain(train, aabb, tuple(float(v) for v in self.background))

    def batch(self, indices: Tensor, generator: Generator) -> Batch:
        premultiplied = to_float(self._pixels[indices])
        if self.random_background:
            background = torch.rand(len(indices), 3, generator=generator).to(premultiplied.device)
        else:
            background = self.background.expand(len(indices), 3)
        return Batch(self._rays(indices), over(premultiplied, background), background, indices)

    def _rays(self, indices: Tensor) -> Rays:
        """The rays of items that may come from any picture; agrees with Camera.items, by test."""
        picture = torch.div(indices, self._per_picture, rounding_mode="floor")
        pixel = indices % self._per_picture
        fx, fy, cx, cy = self._lenses[picture].unbind(-1)
        x = (pixel % self._width).float() + 0.5
        y = torch.div(pixel, self._width, rounding_mode="floor").float() + 0.5
        local = torch.stack([(x - cx) / fx, (cy - y) / fy, -torch.ones_like(x)], dim=-1)
        pose = self._poses[picture]
        world = (pose[:, :, :3] @ local[:, :, None])[:, :, 0]
        return Rays(pose[:, :, 3], torch.nn.functional.normalize(world, dim=-1))

    def views(self, split: str) -> Sequence[View]:
        posed = self._splits.get(split)
        if posed is None:
            return []
        return [
            View(name, camera, over(to_float(picture.reshape(-1, 4)), self.background), self.background)
            for name, camera, picture in zip(posed.names, posed.cameras, posed.pictures, strict=True)
        ]

    def notes(self) -> Sequence[str]:
        return self._notes


def _domain(train: PosedImages, aabb: Aabb, background: tuple[float, ...]) -> Domain:
    """The turntable runs where the training cameras stood: their mean distance and height, around the box's centre.

    A still picture is taken from a turn of 45 degrees on it.
    """
    centre = aabb.centre.cpu()
    eyes = torch.stack([torch.tensor(camera.pose)[:, 3] for camera in train.cameras]) - centre
    distances = torch.linalg.vector_norm(eyes, dim=1).clamp(min=1e-6)
    height = float((eyes[:, 2] / distances).clamp(-1, 1).asin().mean())
    x, y, z = centre.tolist()
    domain = Domain(
        task="views",
        aabb=aabb,
        out_dim=3,
        sensor=None,
        centre=(x, y, z),
        radius=float(distances.mean()),
        elevation=min(max(height, 0.2), 0.8),
        up=TURNTABLE_UP,
        background=background,
    )
    return replace(domain, sensor=train.cameras[0].at(orbit(domain, 8)[1]))
