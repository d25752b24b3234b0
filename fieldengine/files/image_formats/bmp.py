"""BMP: through Pillow; a fourth byte that has no mask is padding to the format, and said where it holds anything."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from fieldengine.files.image_formats.pillow import read_with_pillow
from fieldengine.files.image_formats.stored import Stored

PLAIN = 0  # the compression without masks of channels


def read_bmp(path: Path) -> Stored:
    """Alpha is read where the file has a mask for it."""
    found = read_with_pillow(path, "BMP")
    height, width, _ = found.values.shape
    data = path.read_bytes()
    start, header = struct.unpack_from("<II", data, 10)
    if header < 40 or struct.unpack_from("<HI", data, 28) != (32, PLAIN):
        return found
    if not np.frombuffer(data, np.uint8, 4 * height * width, start)[3::4].any():
        return found
    note = "holds a fourth byte for each pixel that it does not call transparency; it is left out"
    return replace(found, notes=(*found.notes, note))
