"""Multiview images: what every format of images with cameras becomes once its files are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from fieldengine.cameras.camera import Camera, Cameras
from fieldengine.cameras.paths import orbit
from fieldengine.datasets.images import color, over, to_float
from fieldengine.types import Aabb, Batch, Domain, Rays, View

CLEAR = 0.1  # how little cameras may roll, against how much they turn, for their right to say where up is


@dataclass(frozen=True)
class CameraImages:
    """Images and the camera of each: (h, w, 4) uint8, colour already multiplied by alpha. Sizes may differ."""

    names: tuple[str, ...]
    cameras: tuple[Camera, ...]
    images: tuple[Tensor, ...]

    def to(self, device: torch.device) -> CameraImages:
        return replace(self, images=tuple(image.to(device) for image in self.images))


class MultiviewDataset:
    """Rays of the training images, numbered image by image and row by row.

    Behind transparent pixels lies `background`. With `random_background` each training ray gets a random colour
    behind it, in target and rendering alike: then fog of the background's colour is not a way to lower the loss.
    """

    surface = None

    def __init__(
        self,
        splits: Mapping[str, CameraImages],
        *,
        aabb: Aabb,
        background: str | tuple[float, float, float],
        random_background: bool,
        notes: Sequence[str] = (),
        files: Sequence[Path] = (),
    ):
        self._by_split, self._notes, self.files = splits, list(notes), files
        self.splits = tuple(splits)
        train = splits["train"]
        self.cameras = Cameras.of(train.cameras).to(train.images[0].device)
        self.cameras.refuse_folded_lenses()
        self._pixels = torch.cat([image.reshape(-1, 4) for image in train.images])
        self._ends = self.cameras.sizes.prod(dim=1).cumsum(0)  # the number after the last item of each image
        self.n_items = len(self._pixels)
        self.background = color(background).to(self._pixels.device)
        self.random_background = random_background and bool((self._pixels[:, 3] < 255).any())
        self.domain = _domain(train.cameras, self.cameras, aabb, tuple(float(v) for v in self.background))

    def batch(self, indices: Tensor, generator: Generator) -> Batch:
        premultiplied = to_float(self._pixels[indices])
        if self.random_background:
            background = torch.rand(len(indices), 3, generator=generator, device=generator.device).to(premultiplied)
        else:
            background = self.background.expand(len(indices), 3)
        return Batch(self._rays(indices), over(premultiplied, background), background, indices)

    def _rays(self, indices: Tensor) -> Rays:
        """The rays of items, which may come from any image."""
        camera = torch.searchsorted(self._ends, indices, right=True)
        height, width = self.cameras.sizes[camera].unbind(-1)
        pixel = indices - (self._ends[camera] - height * width)
        x = (pixel % width).float() + 0.5
        y = torch.div(pixel, width, rounding_mode="floor").float() + 0.5
        return self.cameras.rays(camera, x, y)

    def views(self, split: str) -> Sequence[View]:
        found = self._by_split.get(split)
        if found is None:
            return []
        return [
            View(name, camera, over(to_float(image.reshape(-1, 4)), self.background), self.background)
            for name, camera, image in zip(found.names, found.cameras, found.images, strict=True)
        ]

    def notes(self) -> Sequence[str]:
        return self._notes


def world_up(poses: Tensor) -> Tensor:
    """Where up is for people who held cameras at these poses (k, 3, 4), a unit vector (3,) on the CPU.

    Cameras that are held level have their right at a right angle to it: it is the direction that varies least among
    their rights. Where these do not say, as of cameras that all look one way or roll, the mean of their own ups.
    """
    rights, ups = poses[:, :, 0].double().cpu(), poses[:, :, 1].double().cpu().mean(dim=0)
    spread, directions = torch.linalg.eigh(rights.T @ rights)
    up = directions[:, 0] if float(spread[0]) < CLEAR * float(spread[1]) else ups
    if float(up @ ups) < 0:
        up = -up
    if float(up.norm()) < 1e-6:  # as many cameras upside down as upright
        up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    up = torch.nn.functional.normalize(up, dim=0)
    nearest = torch.zeros(3, dtype=torch.float64)
    nearest[up.abs().argmax()] = up[up.abs().argmax()].sign()
    return (nearest if float(up @ nearest) > 1.0 - 1e-6 else up).float()  # an axis, but for rounding, is that axis


def _domain(lenses: Sequence[Camera], cameras: Cameras, aabb: Aabb, background: tuple[float, ...]) -> Domain:
    """The turntable runs where the training cameras stood: their mean distance and height, around the box's centre.

    A still image is taken from a turn of 45 degrees on it.
    """
    centre, up = aabb.centre.cpu(), world_up(cameras.poses)
    eyes = cameras.poses[:, :, 3].cpu() - centre
    distances = torch.linalg.vector_norm(eyes, dim=1).clamp(min=1e-6)
    height = float(((eyes @ up) / distances).clamp(-1, 1).asin().mean())
    x, y, z = centre.tolist()
    u, v, w = up.tolist()
    domain = Domain(
        task="views",
        aabb=aabb,
        out_dim=3,
        grid=None,
        centre=(x, y, z),
        radius=float(distances.mean()),
        elevation=min(max(height, 0.2), 0.8),
        up=(u, v, w),
        background=background,
        n_cameras=len(lenses),
    )
    return replace(domain, grid=lenses[0].at(orbit(domain, 8)[1]))
