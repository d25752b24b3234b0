"""Pictures and videos of a trained field as files: what `fieldengine render` does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from fieldengine.errors import FieldEngineError, RunError
from fieldengine.export.files import require_suffix
from fieldengine.export.image import PICTURES, VIDEOS, write_picture, write_video
from fieldengine.protocols import Trained
from fieldengine.rendering.paths import from_file, orbit, spiral
from fieldengine.rendering.picture import render_picture
from fieldengine.rendering.sensors import Camera
from fieldengine.types import Sensor

MAX_PIXELS = 1 << 28


def sized(sensor: Sensor, scale: float | None, size: tuple[int, int] | None) -> Sensor:
    """The sensor with `scale` times as many pixels a side, or with `size` = (width, height) pixels."""
    if scale is not None and not math.isfinite(scale):
        raise FieldEngineError(f"--scale {scale} is not a finite number")
    width, height = size or (round(sensor.width * (scale or 1.0)), round(sensor.height * (scale or 1.0)))
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise FieldEngineError(f"a picture of {width}x{height} pixels is asked for; it needs 1 to {MAX_PIXELS} pixels")
    return sensor.resized(height, width)


def render_file(
    trained: Trained,
    out: Path | None,
    *,
    folder: Path,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    path: str | None = None,
    frames: int = 60,
    fps: int = 30,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> Path:
    """Write a picture or a video of a trained field.

    A flat signal gives a picture. A scene seen by cameras gives a video along `path` (orbit, spiral, or a JSON file
    of poses); where `out` is a picture, the first frame of that path, or the data's own view where none is named.

    Args:
        out: file to write; None chooses `image.png` or `PATH.mp4` in `folder`.
        told: called with frames done and frames in all.

    Returns:
        the file written.
    """
    sensor = trained.domain.sensor
    if sensor is None:
        raise RunError(out or folder, "this field has no picture to render")
    sensor = sized(sensor, scale, size)
    if not isinstance(sensor, Camera):
        if path is not None:
            raise FieldEngineError("--path is for scenes seen by cameras; this field is a flat picture")
        out = out or folder / "image.png"
        require_suffix(out, PICTURES, "a picture")
        write_picture(out, _picture(trained, sensor))
        return out
    out = out or folder / f"{Path(path or 'orbit').stem}.mp4"
    suffix = require_suffix(out, (*VIDEOS, *PICTURES), "a rendering")
    cameras = [sensor.at(pose) for pose in _poses(trained, path or "orbit", frames)]
    if suffix in PICTURES:
        write_picture(out, _picture(trained, sensor if path is None else cameras[0]))
        return out

    def pictures() -> Iterator[Tensor]:
        for i, camera in enumerate(cameras):
            yield _picture(trained, camera)
            told(i + 1, len(cameras))

    write_video(out, pictures(), fps)
    return out


def _poses(trained: Trained, path: str, frames: int) -> list[Tensor]:
    if path == "orbit":
        return orbit(trained.domain, frames)
    if path == "spiral":
        return spiral(trained.domain, frames)
    if Path(path).suffix.lower() != ".json":
        raise FieldEngineError(f'no camera path "{path}". Paths: orbit, spiral, or a .json file of camera poses')
    return from_file(Path(path))


def _picture(trained: Trained, sensor: Sensor) -> Tensor:
    with torch.no_grad():
        return render_picture(trained.field, trained.renderer, trained.domain, sensor).values
