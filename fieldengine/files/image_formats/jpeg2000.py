"""JPEG 2000: 8 bits through Pillow, deeper ones through ffmpeg, which keeps them."""

from __future__ import annotations

import struct
from pathlib import Path

from fieldengine.errors import DataError
from fieldengine.files.image_formats.ffmpeg import decoded
from fieldengine.files.image_formats.pillow import read_with_pillow
from fieldengine.files.image_formats.stored import Stored, require_size

CODESTREAM = b"\xff\x4f\xff\x51"
END = b"\xff\xd9"


def read_jpeg2000(path: Path) -> Stored:
    """Raises DataError for signed numbers, for more than 16 bits, and for channels of different depth."""
    data = path.read_bytes()
    at = data.find(CODESTREAM)
    if at < 0 or len(data) < at + 46:
        raise ValueError("it is cut short")
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    require_size(path, right - left, bottom - top)
    (count,) = struct.unpack_from(">H", data, at + 40)
    depths = {data[at + 42 + 3 * i] + 1 for i in range(count)}
    if not data.rstrip(b"\0").endswith(END):
        raise ValueError("it is cut short")
    if depths == {8}:
        return read_with_pillow(path, "JPEG2000")
    if len(depths) != 1 or max(depths) > 16:
        raise DataError(path, f"has channels of {_bits(depths)}; unsigned ones of equal depth, up to 16 bits, are read")
    bits = max(depths)
    values, depth = decoded("jpeg2000", data)
    if values.ndim != 3 or values.shape[2] != count:
        raise DataError(path, "stores its deep colours in an unusual way; write it as grey or RGB")
    return Stored(values >> (depth - bits), (1 << bits) - 1)


def _bits(depths: set[int]) -> str:
    return ", ".join(f"{depth} bits" if depth <= 128 else f"{depth - 128} bits, signed" for depth in sorted(depths))
