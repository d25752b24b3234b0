"""PNG: every depth and colour type, the colour that means transparency, and a check of every byte."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldengine.errors import DataError
from fieldengine.files.image_formats.colour import profile_note
from fieldengine.files.image_formats.ffmpeg import decoded
from fieldengine.files.image_formats.pillow import ORIENTATION, opened, stored
from fieldengine.files.image_formats.stored import Stored, require_size, several

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE = 0, 2, 3  # colour types; 4 and 6 have alpha
SRGB_GAMMA = 45455  # 1 / 2.2 in the units of gAMA


def read_png(path: Path) -> Stored:
    """Raises DataError for a PNG that is cut short or damaged, and for its size."""
    data = path.read_bytes()
    width, height, depth, colour_type = _head(data)
    require_size(path, width, height)
    found = chunks(path, data)
    with opened(path, "PNG") as image:
        orientation = image.getexif().get(ORIENTATION, 1)
        if colour_type != PALETTE:
            image.info.pop("transparency", None)  # the key is looked for below, at every depth
        # Pillow cuts colours of 16 bits to 8
        values = decoded("png", data)[0] if depth == 16 and colour_type != GREY else stored(image).values
    key = found.get(b"tRNS")
    if key is not None and colour_type in (GREY, COLOUR) and values.shape[2] in (1, 3):
        values = _keyed(values, key, depth)
    frames = int.from_bytes(found.get(b"acTL", b"")[:4])
    notes = (*several(frames, "frames"), *_colour_note(found))
    return Stored(values, 255 if values.dtype == np.uint8 else 65535, orientation, notes=notes)


def chunks(path: Path, data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each kind, pixels left out. Raises DataError where the file ends early or is damaged."""
    found: dict[bytes, bytes] = {}
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if at + 12 + length > len(data):
            break
        if zlib.crc32(kind + body) != int.from_bytes(data[at + 8 + length : at + 12 + length]):
            name = kind.decode("latin-1")
            raise DataError(path, f"cannot be read as an image: its part {name} is damaged (wrong checksum)")
        if kind == b"IEND":
            return found
        if kind != b"IDAT":
            found.setdefault(kind, body)
        at += 12 + length
    raise DataError(path, "cannot be read as an image: the PNG is cut short")


def _head(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, depth and colour type."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise ValueError("the PNG is cut short")
    return struct.unpack_from(">IIBB", data, 16)


def _keyed(values: NDArray[Any], key: bytes, depth: int) -> NDArray[Any]:
    """Alpha where a colour is not the one that means transparency; the key is in the depth of the file."""
    channels = values.shape[2]
    if len(key) < 2 * channels:
        raise ValueError("its transparent colour is incomplete")
    top = int(np.iinfo(values.dtype).max)
    colour = np.array(struct.unpack_from(f">{channels}H", key), dtype=np.int64) * (top // ((1 << depth) - 1))
    clear = (values == colour).all(axis=-1, keepdims=True)
    return np.concatenate([values, np.where(clear, 0, top).astype(values.dtype)], axis=-1)


def _colour_note(found: dict[bytes, bytes]) -> tuple[str, ...]:
    """What to say of colours that are not those of sRGB. A later standard outranks an earlier one."""
    code = found.get(b"cICP")
    if code is not None and len(code) >= 2:
        plain = code[0] == 1 and code[1] in (1, 6, 13)
        said = f"says its colours are of the code {code[0]}/{code[1]} (cICP), which is not applied; its values are used"
        return () if plain else (f"{said} as stored",)
    if b"iCCP" in found:
        return profile_note(_profile(found[b"iCCP"]))
    gamma = int.from_bytes(found.get(b"gAMA", b"")[:4])
    if b"sRGB" in found or not gamma or abs(gamma - SRGB_GAMMA) <= 500:
        return ()
    said = f"says its values are light to the power of {gamma / 1e5:.4g} (gAMA), which is not applied"
    return (f"{said}; they are used as stored",)


def _profile(chunk: bytes) -> bytes:
    """The ICC profile of an iCCP chunk: a name, a zero, the method, and the profile compressed."""
    try:
        return zlib.decompressobj().decompress(chunk.partition(b"\0")[2][1:], 1 << 24)
    except zlib.error:
        return b"damaged"
