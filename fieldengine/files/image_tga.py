"""TGA: through Pillow; whether its fourth byte is alpha is for the file to say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fieldengine.files.image_pillow import read_with_pillow
from fieldengine.files.image_stored import Stored


def read_tga(path: Path) -> Stored:
    """Alpha is kept where the file has bits for it."""
    found = read_with_pillow(path, "TGA")
    with path.open("rb") as file:
        alpha_bits = file.read(18)[17] & 0x0F
    if alpha_bits or not found.has_alpha:
        return found
    note = "says that it has no bits for transparency, so its last channel is left out"
    return replace(found, values=found.values[..., :-1], notes=(*found.notes, note))
