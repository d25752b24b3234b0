"""OpenEXR: linear light in floats. The header is read here, because it says which decoder may be trusted."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldengine.errors import DataError
from fieldengine.files.image_formats.ffmpeg import decoded
from fieldengine.files.image_formats.stored import Stored, require_size, several

COMPRESSIONS = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
ROWS = (1, 1, 1, 16, 32, 16, 32, 32, 32, 256)  # of pixels in one block of each compression
TRUSTED = 8  # ffmpeg decodes the compressions before this one exactly
TILED, DEEP, MULTIPART = 0x200, 0x800, 0x1000
SETS = (("R", "G", "B", "A"), ("R", "G", "B"), ("Y", "A"), ("Y",))  # channels that make an image
REC_709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)


@dataclass(frozen=True)
class Channel:
    """One channel of a part: its type is 0 for integers, 1 for half and 2 for single floats."""

    name: str
    type: int
    sampling: tuple[int, int]


def read_exr(path: Path) -> Stored:
    """The first part of a file. Colour is stored times alpha, by the format's convention.

    Raises DataError for channels that make no image, and for a file that is cut short.
    """
    data = path.read_bytes()
    try:
        (flags,) = struct.unpack_from("<I", data, 4)
        headers, blocks_at = _headers(data, bool(flags & MULTIPART))
    except (IndexError, struct.error) as reason:
        raise ValueError("the EXR is cut short") from reason
    header = headers[0]
    if flags & DEEP or header.get("type", b"").startswith(b"deep"):
        raise DataError(path, "is a deep EXR, with several samples a pixel; write it as a flat one")
    left, top, right, bottom = struct.unpack("<4i", header["displayWindow"])
    require_size(path, right - left + 1, bottom - top + 1)
    data_window = struct.unpack("<4i", header["dataWindow"])
    require_size(path, data_window[2] - data_window[0] + 1, data_window[3] - data_window[1] + 1)
    _require_whole(data, flags, header, blocks_at, data_window)
    channels = _channels(header["channels"])
    layer, chosen = _image_of(path, channels)
    values = _pixels(path, data, header["compression"][0], layer, chosen)
    notes = list(several(len(headers), "parts"))
    if layer:
        notes.append(f'has no image of its own; its layer "{layer}" is used')
    beside = sorted(channels.keys() - {channel.name for channel in chosen})
    if beside:
        notes.append(f"holds channels that are not read: {', '.join(beside[:8])}")
    if data_window != (left, top, right, bottom):
        notes.append("holds pixels for a part of its frame only (dataWindow); the rest of the frame is 0")
    primaries = header.get("chromaticities")
    if primaries and not np.allclose(struct.unpack("<8f", primaries), REC_709, atol=2e-3):
        notes.append("has primaries (chromaticities) other than sRGB's; its values are used as stored")
    return Stored(values, None, premultiplied=len(chosen) in (2, 4), notes=tuple(notes))


def _headers(data: bytes, multipart: bool) -> tuple[list[dict[str, bytes]], int]:
    """Attributes of every part, and where the table of blocks begins."""
    headers, at = [], 8
    while True:
        header: dict[str, bytes] = {}
        while data[at] != 0:
            name, at = _text(data, at)
            _, at = _text(data, at)
            (size,) = struct.unpack_from("<I", data, at)
            header[name] = data[at + 4 : at + 4 + size]
            at += 4 + size
        at += 1
        if header:
            headers.append(header)
        if not multipart or not header:
            return headers, at


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode("utf-8", errors="replace"), end + 1


def _channels(listed: bytes) -> dict[str, Channel]:
    found, at = {}, 0
    while listed[at] != 0:
        name, at = _text(listed, at)
        kind, _, x, y = struct.unpack_from("<iIii", listed, at)
        found[name] = Channel(name, kind, (x, y))
        at += 16
    return found


def _image_of(path: Path, channels: dict[str, Channel]) -> tuple[str, list[Channel]]:
    """The layer and its channels that make the image; the layer without a name comes first."""
    layers = sorted({name.rpartition(".")[0] for name in channels})
    for layer in layers:
        for names in SETS:
            found = [channels[full] for name in names if (full := f"{layer}.{name}" if layer else name) in channels]
            if len(found) < len(names):
                continue
            if names[0] == "Y" and any(name.endswith(("RY", "BY")) for name in channels):
                raise DataError(path, "stores colour as luminance and differences (Y, RY, BY); write it as R, G, B")
            if any(part.sampling != (1, 1) for part in found):
                raise DataError(path, "stores a channel at a lower resolution; write all channels at full resolution")
            if any(part.type == 0 for part in found):
                raise DataError(path, "stores colour as integers; write it as half or single floats")
            return layer, found
    named = ", ".join(sorted(channels)[:8]) or "none"
    raise DataError(path, f"has no channels that make an image (R, G, B or Y, with or without A); it has: {named}")


def _require_whole(
    data: bytes, flags: int, header: dict[str, bytes], at: int, window: tuple[int, int, int, int]
) -> None:
    """Raises ValueError where a block of pixels lies beyond the end: decoders leave it black."""
    high, wide = window[3] - window[1] + 1, window[2] - window[0] + 1
    compression = header["compression"][0]
    if "chunkCount" in header:
        (count,) = struct.unpack("<i", header["chunkCount"])
    elif flags & TILED:
        across, down = struct.unpack_from("<II", header["tiles"])
        count = -(-wide // across) * -(-high // down)  # of the full resolution, which comes first
    else:
        count = -(-high // ROWS[compression]) if compression < len(ROWS) else 0
    head = (16 if flags & TILED or header.get("type", b"").startswith(b"tiled") else 4) + 4 * bool(flags & MULTIPART)
    if at + 8 * count > len(data):
        raise ValueError("the EXR is cut short")
    for offset in struct.unpack_from(f"<{count}Q", data, at):
        if offset == 0 or offset + head + 4 > len(data):
            raise ValueError("the EXR is cut short")
        (size,) = struct.unpack_from("<I", data, offset + head)
        if offset + head + 4 + size > len(data):
            raise ValueError("the EXR is cut short")


def _pixels(path: Path, data: bytes, compression: int, layer: str, channels: list[Channel]) -> NDArray[Any]:
    """(height, width, channels) in floats, in the order of `channels`."""
    if compression < TRUSTED and len({channel.type for channel in channels}) == 1:
        return decoded("exr", data, layer=layer)[0]
    try:
        import OpenEXR
    except ImportError as reason:
        named = COMPRESSIONS[compression] if compression < len(COMPRESSIONS) else f"compression {compression}"
        what = "has channels of several types" if compression < TRUSTED else f"is compressed by {named}"
        raise DataError(path, f"{what}, which needs OpenEXR; install fieldengine[images]") from reason
    with OpenEXR.File(str(path), separate_channels=True) as file:
        found = file.parts[0].channels
        return np.stack([found[channel.name].pixels for channel in channels], axis=-1)
