"""The NeRF-synthetic layout: transforms_{train,val,test}.json beside RGBA images."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fieldengine.cameras.camera import Camera
from fieldengine.datasets.images import downscaled, premultiplied, to_float
from fieldengine.datasets.multiview import CameraImages, MultiviewDataset
from fieldengine.errors import DataError
from fieldengine.files.image import read_image
from fieldengine.types import Aabb, RunContext

SPLITS = ("train", "val", "test")
Unit = Annotated[float, Field(ge=0, le=1)]
Corner = tuple[float, float, float]


@dataclass(frozen=True)
class Blender:
    """Posed images in the layout of NeRF-synthetic.

    The format of Mildenhall et al. 2020. `transforms_train.json` holds `camera_angle_x` (the horizontal field of
    view, radians) and, per frame, `file_path` and `transform_matrix` (camera-to-world, OpenGL axes). Images may be
    RGB or RGBA with straight alpha.

    Scene: `dataset: {type: blender, path: data/lego, downscale: 2}`
    """

    default_field: ClassVar[str] = "radiance"
    default_renderer: ClassVar[str] = "volume"
    default_metrics: ClassVar[tuple[str, ...]] = ("psnr", "ssim")

    path: Path
    """the folder with transforms_train.json"""
    downscale: Annotated[int, Field(ge=1)] = 1
    """average this many pixels each way into one"""
    background: Literal["white", "black", "grey"] | tuple[Unit, Unit, Unit] = "white"
    """colour behind transparent pixels when images are compared or rendered"""
    random_background: bool = True
    """while training, a random colour behind each ray of transparent images"""
    train_views: Annotated[int, Field(ge=1)] | None = None
    """train on this many of the training images, evenly spaced; null takes all of them"""
    aabb: tuple[Corner, Corner] = ((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5))
    """lower and upper corner of the space that is fitted"""

    def __post_init__(self) -> None:
        if any(a >= b for a, b in zip(*self.aabb, strict=True)):
            raise ValueError(
                f"aabb: the lower corner {self.aabb[0]} must be below the upper corner {self.aabb[1]} on every axis"
            )

    def build(self, *, context: RunContext) -> MultiviewDataset:
        if not self.path.is_dir():
            what = "is a file" if self.path.exists() else "no such folder"
            raise DataError(self.path, f"{what}. `dataset.path` names the folder that holds transforms_train.json")
        splits = {
            name: _read_split(self.path, name, self.downscale, self.train_views if name == "train" else None)
            for name in SPLITS
            if _transforms(self.path, name).exists()
        }
        if "train" not in splits:
            found = ", ".join(sorted(p.name for p in self.path.iterdir())[:8]) or "nothing"
            raise DataError(self.path, f"has no transforms_train.json. It holds: {found}")
        splits = {name: split.to(context.device) for name, split in splits.items()}
        return MultiviewDataset(
            splits,
            aabb=Aabb.of(*self.aabb).to(context.device),
            background=self.background,
            random_background=self.random_background,
        )


def _transforms(folder: Path, split: str) -> Path:
    return folder / f"transforms_{split}.json"


def _read_split(folder: Path, split: str, downscale: int, n_views: int | None) -> CameraImages:
    path = _transforms(folder, split)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as reason:
        raise DataError(path, f"cannot be read as JSON: {reason}") from reason
    frames = found.get("frames") if isinstance(found, dict) else None
    if not isinstance(frames, list) or not frames:
        raise DataError(path, "holds no `frames`")
    if n_views is not None:
        if n_views > len(frames):
            raise DataError(path, f"holds {len(frames)} images; train_views asks for {n_views}")
        frames = [frames[i * len(frames) // n_views] for i in range(n_views)]  # 25 of 100 are every fourth
    angle = found.get("camera_angle_x")
    if not isinstance(angle, int | float) or not 0 < angle < math.pi:
        raise DataError(path, f"`camera_angle_x` must lie between 0 and pi radians, found {angle!r}")
    files = [_image_path(folder, path, i, frame) for i, frame in enumerate(frames)]
    missing = [file for file in files if not file.is_file()]
    if missing:
        listing = ", ".join(str(file.relative_to(folder)) for file in missing[:3]) + (
            ", ..." if len(missing) > 3 else ""
        )
        raise DataError(path, f"names {len(files)} images, of which {len(missing)} are missing: {listing}")
    poses = [_pose(path, i, frame) for i, frame in enumerate(frames)]
    images = [_read_rgba(file, downscale) for file in files]
    cameras = [_lens(angle, *image.shape[:2]).at(pose) for image, pose in zip(images, poses, strict=True)]
    return CameraImages(tuple(file.stem for file in files), tuple(cameras), tuple(images))


def _lens(angle: float, height: int, width: int) -> Camera:
    """A pinhole camera with this horizontal field of view, somewhere."""
    focal = 0.5 * width / math.tan(0.5 * angle)
    return Camera(pose=(), height=height, width=width, fx=focal, fy=focal, cx=0.5 * width, cy=0.5 * height)


def _image_path(folder: Path, path: Path, i: int, frame: Any) -> Path:
    name = frame.get("file_path") if isinstance(frame, dict) else None
    if not isinstance(name, str) or not name:
        raise DataError(path, f"frame {i} has no `file_path`")
    file = folder / name
    if not file.suffix:
        file = file.with_suffix(".png")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise DataError(path, f'frame {i} points outside the folder: "{name}"')
    return file


def _pose(path: Path, i: int, frame: dict[str, Any]) -> Tensor:
    try:
        pose = torch.tensor(frame.get("transform_matrix"), dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise DataError(path, f"frame {i}: `transform_matrix` is not a 4x4 matrix of numbers") from reason
    if pose.shape not in ((4, 4), (3, 4)) or not pose.isfinite().all():
        raise DataError(
            path, f"frame {i}: `transform_matrix` must be a finite 4x4 matrix, found shape {tuple(pose.shape)}"
        )
    rotation = pose[:3, :3]
    if abs(float(torch.linalg.det(rotation))) < 1e-6:
        raise DataError(path, f"frame {i}: `transform_matrix` is singular; its first three columns must be a rotation")
    if float(torch.linalg.det(rotation)) < 0:
        raise DataError(path, f"frame {i}: the first three columns of `transform_matrix` are not a rotation (mirrored)")
    if not torch.allclose(rotation.T @ rotation, torch.eye(3), atol=1e-2):
        raise DataError(
            path, f"frame {i}: the first three columns of `transform_matrix` are not a rotation (scaled or sheared)"
        )
    return pose[:3]


def _read_rgba(file: Path, downscale: int) -> Tensor:
    """(h, w, 4) uint8, colour times alpha."""
    image = to_float(torch.from_numpy(read_image(file).values))
    channels = image.shape[2]
    if channels in (1, 2):
        image = torch.cat([image[..., :1].expand(-1, -1, 3), image[..., 1:]], dim=-1)
    if image.shape[2] == 3:
        image = torch.cat([image, torch.ones_like(image[..., :1])], dim=-1)
    image = premultiplied(image)
    if downscale > 1:
        image = downscaled(image, downscale)
    if min(image.shape[:2]) < 1:
        raise DataError(file, f"has no pixel left after downscale {downscale}")
    return (image * 255.0).round().to(torch.uint8)
