"""Images and videos as files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fieldengine.errors import RunError
from fieldengine.export.files import atomic, require_suffix

IMAGES = (".png", ".jpg", ".jpeg", ".tiff", ".tif", ".webp", ".bmp")
VIDEOS = (".mp4",)
MAX_SIDES = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383, ".mp4": 16384}  # of libjpeg, WebP and x264
MAX_BLOCKS = 139_264  # of 16x16 pixels in a frame of H.264, by its highest level

BT_709 = 1  # ffmpeg's number for its matrix, its primaries and its transfer
LIMITED = 1  # ffmpeg's number for luma from 16 to 235


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


def require_fits(path: Path, width: int, height: int) -> None:
    """Checks, before any work is done for it, that a format holds pictures of a size. Raises RunError."""
    suffix = path.suffix.lower()
    size = f"{width}x{height} pixels are asked for"
    longest = MAX_SIDES.get(suffix)
    if longest is not None and max(width, height) > longest:
        other = "Write .png" if suffix in IMAGES else "Choose a smaller --size"
        raise RunError(path, f"{size}; a side in {suffix} has at most {longest} pixels. {other}")
    if suffix in VIDEOS and -(-width // 16) * -(-height // 16) > MAX_BLOCKS:
        raise RunError(path, f"{size}; a frame of H.264 has at most {MAX_BLOCKS * 256:,}. Choose a smaller --size")


def write_image(path: Path, values: Tensor) -> None:
    """(h, w, c) in [0, 1] -> an image file; the ending names the format."""
    require_suffix(path, IMAGES, "an image")
    if values.ndim != 3:
        raise RunError(path, f"cannot be written: an image has 2 dimensions, this signal has {values.ndim - 1}")
    if values.shape[2] > 4:
        raise RunError(path, f"cannot be written: an image has 1 to 4 channels, this field has {values.shape[2]}")
    require_fits(path, values.shape[1], values.shape[0])
    image = to_uint8(values)
    if path.suffix.lower() in (".jpg", ".jpeg", ".bmp") and image.ndim == 3 and image.shape[2] in (2, 4):
        image = image[:, :, :-1]  # these formats have no transparency
        image = image[:, :, 0] if image.shape[2] == 1 else image
    with atomic(path) as temporary:
        iio.imwrite(temporary, image)


def write_video(path: Path, frames: Iterable[Tensor], fps: int = 30) -> int:
    """Frames (h, w, 3) in [0, 1] -> H.264 in mp4, one frame in memory at a time; returns how many there were.

    Colours are those of BT.709, in the numbers and by the stream's own word, so that players show what was rendered.
    """
    require_suffix(path, VIDEOS, "a video")
    count = 0
    with atomic(path) as temporary, av.open(str(temporary), "w", format="mp4") as video:
        stream: Any = video.add_stream("libx264", rate=fps)
        for frame in frames:
            # H.264 stores colour at half resolution, so both sides must be even: repeat the last row or column
            image = to_uint8(frame)
            image = np.pad(image, [*((0, side % 2) for side in image.shape[:2]), (0, 0)], mode="edge")
            if count == 0:
                require_fits(path, image.shape[1], image.shape[0])
                _describe(stream, *image.shape[:2])
            video.mux(stream.encode(_in_bt709(image)))
            count += 1
        if count == 0:
            raise RunError(path, "cannot be written: a video has at least one frame")
        video.mux(stream.encode(None))
    return count


def _describe(stream: Any, height: int, width: int) -> None:
    """Size and colours of a stream: BT.709 in the range 16 to 235, the plain case of every player."""
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    codec = stream.codec_context
    codec.color_range = LIMITED
    codec.colorspace = codec.color_primaries = codec.color_trc = BT_709


def _in_bt709(image: NDArray[np.uint8]) -> av.VideoFrame:
    """RGB (h, w, 3) -> luma and colour differences; unasked, ffmpeg takes the matrix of BT.601."""
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=BT_709, dst_color_range=LIMITED)
