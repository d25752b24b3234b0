"""Pictures through ffmpeg's decoders, in the very pixel format that they give."""

from __future__ import annotations

import re
from typing import Any

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.video.frame import VideoFrame
from numpy.typing import NDArray

FORMAT = re.compile(r"(ya|yaf|grayf|gbrpf|gbrapf)(8|16|32)(be)?(?:le)?")  # of pixels, where PyAV makes no array of some
PLANES = {
    "ya": (0,),
    "yaf": (0,),
    "grayf": (0,),
    "gbrpf": (2, 0, 1),
    "gbrapf": (2, 0, 1, 3),
}  # of red, green, blue and alpha


def decoded(codec: str, data: bytes, **options: str) -> tuple[NDArray[Any], int]:
    """The first picture of some bytes, (height, width, channels), and its bits a channel.

    No conversion takes place: depth, range and alpha are the decoder's. Raises ValueError for data that ends early.
    """
    frame = _frame(codec, data, **options)
    form = FORMAT.fullmatch(frame.format.name)
    values = _array(frame, *form.groups()) if form else frame.to_ndarray()
    values = values if values.ndim == 3 else values[:, :, None]
    return values.astype(values.dtype.newbyteorder("="), copy=False), max(c.bits for c in frame.format.components)


def is_sound(codec: str, data: bytes) -> bool:
    """Whether a strict decoder finds no fault; what it cannot decode at all is none."""
    try:
        _frame(codec, data)
    except InvalidDataError:
        return False
    except FFmpegError:
        return True
    return True


def _frame(codec: str, data: bytes, **options: str) -> VideoFrame:
    context: Any = av.CodecContext.create(codec, "r")
    context.thread_count = 1
    context.options = {"err_detect": "crccheck+explode", **options}
    frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    if not frames:
        raise ValueError("it is cut short")
    return frames[0]


def _array(frame: VideoFrame, name: str, bits: str, big: str | None) -> NDArray[Any]:
    """Planes of floats, or one plane of grey and alpha by turns."""
    kind = np.dtype(f"{'>' if big else '<'}{'f' if name.endswith('f') else 'u'}{int(bits) // 8}")
    together = 2 if name in ("ya", "yaf") else 1
    planes = [
        np.frombuffer(bytes(plane), kind).reshape(frame.height, -1)[:, : frame.width * together]  # rows are padded
        for plane in frame.planes
    ]
    return np.stack([planes[i] for i in PLANES[name]], axis=-1).reshape(frame.height, frame.width, -1)
