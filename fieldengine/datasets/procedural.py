"""A small analytic scene, photographed on the spot: multi-view data without a download.

Three solids on a checkered floor disc, given as signed distances, are seen by sphere tracing from a dome of cameras.
Everything is known exactly: geometry, colours, cameras.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fieldengine.cameras.camera import Camera
from fieldengine.cameras.paths import look_at
from fieldengine.datasets.multiview import CameraImages, MultiviewDataset
from fieldengine.ops import intersect_aabb
from fieldengine.renderers.sphere_tracing import numerical_normals, sphere_trace
from fieldengine.types import Aabb, RunContext

LIGHT = (0.45, -0.35, 0.82)
EXTENT = 1.0
SOLIDS = ([-0.89, -0.89, -0.42], [0.89, 0.89, 0.43])  # the box of what is there; rays are traced inside it
CAMERA_DISTANCE = 3.2


@dataclass(frozen=True)
class Procedural:
    """Posed images of a small analytic scene, made on the spot.

    A ring, a ball and a block on a checkered disc, seen from a dome of cameras. Needs no files.

    Scene: `dataset: {type: procedural, views: 60, size: 100}`
    """

    default_field: ClassVar[str] = "radiance"
    default_renderer: ClassVar[str] = "volume"
    default_metrics: ClassVar[tuple[str, ...]] = ("psnr", "ssim")

    views: Annotated[int, Field(ge=2, le=1000)] = 60
    """training images"""
    test_views: Annotated[int, Field(ge=1, le=1000)] = 8
    """images held out for scoring"""
    size: Annotated[int, Field(ge=8, le=2048)] = 100
    """height and width of an image in pixels"""
    background: Literal["white", "black", "grey"] = "white"
    """colour behind the scene when images are compared or rendered"""
    random_background: bool = True
    """while training, a random colour behind each ray"""

    def build(self, *, context: RunContext) -> MultiviewDataset:
        splits = {
            "train": _photographs("train", self.views, self.size, offset=0.0),
            "test": _photographs("test", self.test_views, self.size, offset=0.37),
        }
        splits = {name: split.to(context.device) for name, split in splits.items()}
        return MultiviewDataset(
            splits,
            aabb=Aabb.of([-EXTENT] * 3, [EXTENT] * 3).to(context.device),
            background=self.background,
            random_background=self.random_background,
        )


def distance(x: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance (m,) to the scene, inside < 0, and which solid (m,) is nearest, in the order of `albedo`."""
    solids = torch.stack([_ring(x), _ball(x), _block(x), _floor(x)], dim=-1)
    return solids.min(dim=-1)


def _sdf(x: Tensor) -> Tensor:
    return distance(x)[0]


def albedo(x: Tensor, solid: Tensor) -> Tensor:
    """Colour (m, 3) of points on the solids (m,)."""
    base = torch.tensor(
        [[0.86, 0.30, 0.20], [0.20, 0.45, 0.80], [0.95, 0.75, 0.25], [0.88, 0.88, 0.86]], device=x.device
    )
    colour = base[solid]
    stripes = (torch.sin(14.0 * torch.atan2(x[:, 1], x[:, 0])) > 0) & (solid == 0)
    checks = ((x[:, 0] * 5).floor() + (x[:, 1] * 5).floor()).remainder(2).bool() & (solid == 3)
    bands = ((x[:, 2] * 12).floor().remainder(2) == 0) & (solid == 1)
    return torch.where((stripes | checks | bands)[:, None], colour * 0.45, colour)


def _ring(x: Tensor) -> Tensor:
    flat = torch.linalg.vector_norm(x[:, :2], dim=-1) - 0.55
    return torch.hypot(flat, x[:, 2] + 0.17) - 0.14


def _ball(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x - torch.tensor([0.0, 0.0, 0.12], device=x.device), dim=-1) - 0.30


def _block(x: Tensor) -> Tensor:
    angle = 0.5
    turned = torch.stack(
        [
            math.cos(angle) * x[:, 0] + math.sin(angle) * x[:, 1],
            -math.sin(angle) * x[:, 0] + math.cos(angle) * x[:, 1],
            x[:, 2] + 0.25,
        ],
        dim=-1,
    )
    beyond = turned.abs() - torch.tensor([0.19, 0.19, 0.12], device=x.device)
    return torch.linalg.vector_norm(beyond.clamp(min=0), dim=-1) + beyond.amax(dim=-1).clamp(max=0) - 0.02


def _floor(x: Tensor) -> Tensor:
    flat = torch.linalg.vector_norm(x[:, :2], dim=-1) - 0.88
    beyond = torch.stack([flat, (x[:, 2] + 0.36).abs() - 0.05], dim=-1)
    return torch.linalg.vector_norm(beyond.clamp(min=0), dim=-1) + beyond.amax(dim=-1).clamp(max=0)


def _photographs(split: str, n: int, size: int, offset: float) -> CameraImages:
    lens = Camera(pose=(), height=size, width=size, fx=1.55 * size, fy=1.55 * size, cx=0.5 * size, cy=0.5 * size)
    up, centre = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, -0.05])
    cameras, images = [], []
    for i in range(n):
        # a golden-angle spiral spreads views evenly over the dome, from just above the floor to near the top
        height = 0.08 + 0.80 * (i + 0.5) / n
        azimuth = (i + offset) * math.pi * (3.0 - math.sqrt(5.0))
        flat = math.sqrt(1.0 - height**2)
        eye = centre + CAMERA_DISTANCE * torch.tensor([flat * math.cos(azimuth), flat * math.sin(azimuth), height])
        camera = lens.at(look_at(eye, centre, up))
        cameras.append(camera)
        images.append(_photograph(camera))
    return CameraImages(tuple(f"{split}_{i:03d}" for i in range(n)), tuple(cameras), tuple(images))


def _photograph(camera: Camera, oversampling: int = 2) -> Tensor:
    """(h, w, 4) uint8, colour times alpha; several rays a pixel, so that edges are smooth."""
    fine = camera.resized(camera.height * oversampling, camera.width * oversampling)
    rays = fine.items(torch.arange(fine.height * fine.width))
    t_near, t_far = intersect_aabb(rays, Aabb.of(*SOLIDS))
    t, hit = sphere_trace(rays, _sdf, t_near, t_far, close=1e-3, steps=160)
    x = rays.origins + t[:, None] * rays.viewdirs
    rgba = torch.zeros(len(rays), 4)
    x = x[hit]
    colour = albedo(x, distance(x)[1])
    light = torch.nn.functional.normalize(torch.tensor(LIGHT), dim=0)
    diffuse = (numerical_normals(_sdf, x, 1e-3) @ light).clamp(min=0)
    rgba[hit] = torch.cat([colour * (0.35 + 0.65 * diffuse)[:, None], torch.ones(len(x), 1)], dim=-1)
    s = oversampling
    blocks = rgba.view(camera.height, s, camera.width, s, 4).mean(dim=(1, 3))
    return (blocks * 255.0).round().to(torch.uint8)
