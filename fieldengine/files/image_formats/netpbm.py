"""PBM, PGM, PPM, PAM and PFM: a short head and plain numbers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldengine.errors import DataError
from fieldengine.files.image_formats.stored import Stored, require_size

BLANK = rb"(?:[ \t\r\n\v\f]|#[^\n]*\n?)"
CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3, b"PF4": 4}
TUPLES = {"BLACKANDWHITE": 1, "GRAYSCALE": 1, "RGB": 3}  # each may have _ALPHA after it


def read_netpbm(path: Path) -> Stored:
    """Any depth and any highest number. Raises DataError for numbers above it and for a file that is cut short."""
    data = path.read_bytes()
    kind = data[:3] if data.startswith(b"PF4") else data[:2]
    if kind == b"P7":
        return _pam(path, data)
    count = 2 if kind in (b"P1", b"P4") else 3
    head = re.match(rb"P(?:F4|.)" + (BLANK + rb"+([^\s#]+)") * count, data)
    if head is None:
        raise ValueError("its head is incomplete")
    width, height = _whole(head[1]), _whole(head[2])
    require_size(path, width, height)
    shape = (height, width, CHANNELS[kind])
    body = data[head.end() :]
    if kind in (b"Pf", b"PF", b"PF4"):
        return _pfm(shape, body, float(head[3]))
    highest = _whole(head[3]) if count == 3 else 1
    if kind in (b"P1", b"P2", b"P3"):
        values, rest = _written_out(shape, body, kind), b""
    elif kind == b"P4":
        values, rest = _bits(shape, body)
    else:
        values, rest = _numbers(shape, body, highest)
    if kind in (b"P1", b"P4"):
        values = 1 - values  # here 1 is black
    return _counted(path, values, highest, rest.startswith(kind))


def _pam(path: Path, data: bytes) -> Stored:
    head, end, body = data.partition(b"ENDHDR")
    lines = [line.split(None, 1) for line in head.decode("ascii", errors="replace").splitlines()[1:]]
    said = {line[0]: line[1].strip() for line in lines if len(line) == 2 and line[0] != "#"}
    if not end or not {"WIDTH", "HEIGHT", "DEPTH", "MAXVAL"} <= said.keys():
        raise ValueError("its head is incomplete")
    width, height, channels, highest = (_whole(said[key].encode()) for key in ("WIDTH", "HEIGHT", "DEPTH", "MAXVAL"))
    require_size(path, width, height)
    tuple_type = said.get("TUPLTYPE", "")
    plain = tuple_type.removesuffix("_ALPHA")
    if tuple_type and TUPLES.get(plain, 0) + (plain != tuple_type) != channels:
        raise DataError(path, f"has {channels} channels of the type {tuple_type}; known are {', '.join(TUPLES)}")
    if not 1 <= channels <= 4:
        raise DataError(path, f"has {channels} channels; an image has 1 to 4")
    values, rest = _numbers((height, width, channels), body, highest)
    return _counted(path, values, highest, rest.startswith(b"P7"))


def _counted(path: Path, values: NDArray[Any], highest: int, another: bool) -> Stored:
    if values.size and int(values.max()) > highest:
        raise DataError(path, f"says its numbers end at {highest} but holds {int(values.max())}")
    return Stored(values, highest, notes=("holds several images; the first one is used",) if another else ())


def _numbers(shape: tuple[int, int, int], body: bytes, highest: int) -> tuple[NDArray[Any], bytes]:
    """Bytes, or two bytes each where the highest number asks for them, the high one first; and what follows."""
    if not 1 <= highest <= 65535:
        raise ValueError(f"its highest number is {highest}; the format allows 1 to 65535")
    kind = np.dtype(">u2" if highest > 255 else "u1")
    raster, rest = _raster(body, math.prod(shape) * kind.itemsize)
    values = np.frombuffer(raster, kind).reshape(shape)
    return values.astype(kind.newbyteorder("=")), rest


def _bits(shape: tuple[int, int, int], body: bytes) -> tuple[NDArray[Any], bytes]:
    height, width, _ = shape
    across = -(-width // 8)
    raster, rest = _raster(body, height * across)
    rows = np.frombuffer(raster, np.uint8).reshape(height, across)
    return np.unpackbits(rows, axis=1)[:, :width, None], rest


def _written_out(shape: tuple[int, int, int], body: bytes, kind: bytes) -> NDArray[Any]:
    """Numbers as text; those of 1 bit need no space between them."""
    text = re.sub(rb"#[^\n]*", b"", body)
    if re.search(rb"[^\s\d]", text):
        raise ValueError("it holds text where only numbers belong")
    found = re.findall(rb"[01]", text) if kind == b"P1" else text.split()
    if len(found) < math.prod(shape):
        raise ValueError("it is cut short")
    return np.array([int(number) for number in found[: math.prod(shape)]], np.uint32).reshape(shape)


def _pfm(shape: tuple[int, int, int], body: bytes, scale: float) -> Stored:
    """The sign of `scale` is the byte order, its size the unit; rows run from the bottom to the top."""
    if scale == 0 or not math.isfinite(scale):
        raise ValueError(f"its scale is {scale}")
    raster, _ = _raster(body, math.prod(shape) * 4)
    values = np.frombuffer(raster, "<f4" if scale < 0 else ">f4").reshape(shape)[::-1].astype(np.float32)
    if abs(scale) == 1:
        return Stored(values)
    said = f"says that its unit is {abs(scale):g}; its values are multiplied by it"
    return Stored(values.astype(np.float64) * abs(scale), notes=(said,))


def _whole(text: bytes) -> int:
    if not text.isdigit() or len(text) > 9:
        raise ValueError(f'its head says "{text.decode("latin-1")}" where a number belongs')
    return int(text)


def _raster(body: bytes, size: int) -> tuple[bytes, bytes]:
    """The bytes behind the one blank that ends the head, and the rest; a head written as DOS text ends in two."""
    start = 2 if body.startswith(b"\r\n") and len(body) >= size + 2 else 1
    if len(body) < start + size:
        raise ValueError("it is cut short")
    return body[start : start + size], body[start + size :]
