"""TGA: through Pillow; whether its fourth byte is alpha, and of which kind, is for the file to say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fieldengine.files.image_formats.pillow import read_with_pillow
from fieldengine.files.image_formats.stored import Stored

SIGNATURE = b"TRUEVISION-XFILE.\0"  # ends a file of the second version
ALPHA_KIND = 494  # where the extension area says what the fourth byte is
COLOURS = (2, 10)  # types of image: plain and by runs
NOT_SAID, STRAIGHT, PREMULTIPLIED = None, 3, 4


def read_tga(path: Path) -> Stored:
    """Alpha is kept where the file has bits for it and calls it useful."""
    found = read_with_pillow(path, "TGA")
    if not found.has_alpha:
        return found
    data = path.read_bytes()
    kind = _alpha_kind(data)
    bits = data[17] & 0x0F
    if data[16] == 16 and data[2] in COLOURS and not bits:
        return replace(found, values=found.values[..., :-1])
    if bits > 1 and kind in (NOT_SAID, STRAIGHT, PREMULTIPLIED):
        return replace(found, premultiplied=kind == PREMULTIPLIED)
    note = "says that its last channel is not transparency, so that is left out"
    if bits == 1:  # programs do not agree on what the bit means
        note = "has a single bit of alpha, which is left out"
    return replace(found, values=found.values[..., :-1], notes=(*found.notes, note))


def _alpha_kind(data: bytes) -> int | None:
    extension = int.from_bytes(data[-26:-22], "little") if data.endswith(SIGNATURE) else 0
    return data[extension + ALPHA_KIND] if 0 < extension < len(data) - ALPHA_KIND else NOT_SAID
