"""AVIF: through Pillow, which reads 8 bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fieldengine.files.image_formats.pillow import read_with_pillow
from fieldengine.files.image_formats.stored import Stored


def read_avif(path: Path) -> Stored:
    """Says so where the file has more bits than are read."""
    found = read_with_pillow(path, "AVIF")
    bits = _bits(path.read_bytes())
    if bits == 8:
        return found
    return replace(found, notes=(*found.notes, f"has {bits} bits a channel, of which 8 are read"))


def _bits(data: bytes) -> int:
    """From the configuration of the first picture: bit 6 of its third byte says more than 8, bit 5 says 12."""
    at = data.find(b"av1C")
    flags = data[at + 6] if 0 <= at < len(data) - 6 else 0
    return 8 + 2 * bool(flags & 0x40) + 2 * (flags & 0x60 == 0x60)
