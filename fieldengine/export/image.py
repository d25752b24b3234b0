"""Images and videos as files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fieldengine.errors import RunError
from fieldengine.export.files import atomic, require_suffix

IMAGES = (".png", ".jpg", ".jpeg", ".tiff", ".tif", ".webp", ".bmp")
VIDEOS = (".mp4",)


@dataclass(frozen=True)
class ImagePresenter:
    """An image (h, w, c) as a file that viewers open."""

    suffixes: tuple[str, ...] = IMAGES

    def write(self, values: Tensor, out: Path) -> None:
        write_image(out, values)


def to_uint8(values: Tensor) -> NDArray[np.uint8]:
    """(h, w, c) in [0, 1], clipped -> uint8; one channel loses its axis."""
    image = (values.clamp(0.0, 1.0) * 255.0).round().byte().cpu().numpy()
    return image[:, :, 0] if image.shape[2] == 1 else image


def write_image(path: Path, values: Tensor) -> None:
    """(h, w, c) in [0, 1] -> an image file; the ending names the format."""
    require_suffix(path, IMAGES, "an image")
    if values.ndim != 3:
        raise RunError(path, f"cannot be written: an image has 2 dimensions, this signal has {values.ndim - 1}")
    if values.shape[2] > 4:
        raise RunError(path, f"cannot be written: an image has 1 to 4 channels, this field has {values.shape[2]}")
    image = to_uint8(values)
    if path.suffix.lower() in (".jpg", ".jpeg", ".bmp") and image.ndim == 3 and image.shape[2] in (2, 4):
        image = image[:, :, :-1]  # these formats have no transparency
        image = image[:, :, 0] if image.shape[2] == 1 else image
    with atomic(path) as temporary:
        iio.imwrite(temporary, image)


def write_video(path: Path, frames: Iterable[Tensor], fps: int = 30) -> int:
    """Frames (h, w, 3) in [0, 1] -> H.264 in mp4, one frame in memory at a time; returns how many there were."""
    require_suffix(path, VIDEOS, "a video")
    count = 0
    with atomic(path) as temporary, iio.imopen(temporary, "w", plugin="pyav") as video:
        video.init_video_stream("libx264", fps=fps)
        for frame in frames:
            image = to_uint8(frame)
            # H.264 stores colour at half resolution, so both sides must be even: repeat the last row or column
            odd = [(0, side % 2) for side in image.shape[:2]]
            video.write_frame(np.pad(image, [*odd, (0, 0)], mode="edge"))
            count += 1
    return count
