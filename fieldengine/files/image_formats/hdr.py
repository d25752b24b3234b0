"""Radiance HDR: three mantissas and one exponent a pixel."""

from __future__ import annotations

import re
from pathlib import Path

from fieldengine.errors import DataError
from fieldengine.files.image_formats.ffmpeg import decoded
from fieldengine.files.image_formats.stored import Stored, require_size

SIZE = re.compile(rb"\n([+-])([XY]) (\d+) ([+-])([XY]) (\d+)\n")


def read_hdr(path: Path) -> Stored:
    """Floats of linear light, as stored; raises DataError for XYZ colours and rows in an unusual order."""
    data = path.read_bytes()
    size = SIZE.search(data)
    if size is None:
        raise ValueError("the HDR has no line with its size")
    head = data[: size.start()].decode("latin-1")
    if "32-bit_rle_xyze" in head:
        raise DataError(path, "stores XYZ colours; write it with RGB ones (32-bit_rle_rgbe)")
    sign_y, y, height, sign_x, x, width = (part.decode() for part in size.groups())
    if (sign_y, y, sign_x, x) != ("-", "Y", "+", "X"):
        raise DataError(path, f"stores its pixels in the order {size[0].decode().strip()}; write it as -Y N +X N")
    require_size(path, int(width), int(height))
    _require_whole(data, size.end(), int(width), int(height))
    exposure = re.findall(r"^EXPOSURE=\s*(\S+)", head, re.MULTILINE)
    note = f"says its values were multiplied by {exposure[0]} (EXPOSURE); they are used as stored" if exposure else ""
    return Stored(decoded("hdr", data)[0], notes=(note,) if note else ())


def _require_whole(data: bytes, at: int, width: int, height: int) -> None:
    """Raises ValueError where rows of runs end early; the decoder leaves the rest of such a row as it is."""
    marker = bytes([2, 2, width >> 8 & 255, width & 255])
    if not 8 <= width <= 32767 or data[at : at + 4] != marker:
        return  # older kinds of rows, whose end the decoder checks
    for _ in range(height):
        if data[at : at + 4] != marker:
            return  # rows of several kinds
        at += 4
        left = 4 * width
        while left > 0:
            if at >= len(data):
                raise ValueError("the HDR is cut short")
            count = data[at]
            run = count > 128
            left -= count - 128 if run else count
            at += 2 if run else 1 + count
    if at > len(data):
        raise ValueError("the HDR is cut short")
