"""Pictures of at most 8 bits a channel, through Pillow: GIF, BMP, WebP, AVIF, PCX, TGA and whoever asks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from fieldengine.errors import DataError
from fieldengine.files.image_formats.colour import INKS_MIXED, LAB_CONVERTED, lab_to_rgb, mixed, profile_note
from fieldengine.files.image_formats.stored import Stored, require_size, several

ORIENTATION = 0x0112  # the tag of EXIF
PLAIN = ("L", "LA", "RGB", "RGBA")


@contextmanager
def opened(path: Path, kind: str) -> Iterator[PillowImage.Image]:
    """An image whose size is checked and whose pixels are not read yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)  # `require_size` refuses in our words
        try:
            image = PillowImage.open(path, formats=[kind])
        except PillowImage.DecompressionBombError as reason:
            raise DataError(path, f"is too large to open safely: {reason}") from reason
        with image:
            require_size(path, *image.size)
            yield image


def read_with_pillow(path: Path, kind: str) -> Stored:
    """The first image of a file; `kind` is Pillow's name for its format."""
    with opened(path, kind) as image:
        count = getattr(image, "n_frames", 1)
        found = stored(image)
    return replace(found, notes=(*several(count), *found.notes))


def stored(image: PillowImage.Image) -> Stored:
    """Palettes become colours, 1 bit becomes 0 and 255, a colour that means transparency becomes alpha."""
    orientation = image.getexif().get(ORIENTATION, 1)
    notes = profile_note(image.info.get("icc_profile"))
    image.load()
    if image.mode == "CMYK":
        return Stored(mixed(np.asarray(image), 255), 255, orientation, notes=(INKS_MIXED,))
    if image.mode == "LAB":
        return Stored(np.asarray(lab_to_rgb(image)), 255, orientation, notes=(LAB_CONVERTED,))
    if image.mode.startswith("I;16"):
        deep = np.asarray(image)
        return Stored(deep.astype(np.uint16)[:, :, None], 65535, orientation, notes=notes)
    if image.mode in ("I", "F"):
        return Stored(np.asarray(image)[:, :, None], None, orientation, notes=notes)
    if image.mode not in PLAIN or "transparency" in image.info:
        image = image.convert(_plain(image))
    values = np.asarray(image)
    return Stored(values if values.ndim == 3 else values[:, :, None], 255, orientation, notes=notes)


def _plain(image: PillowImage.Image) -> str:
    """The mode that holds all of an image that is in another one."""
    if image.mode in ("La", "RGBa"):
        return image.mode.upper()
    colour = "L" if image.mode in ("1", "L") else "RGB"
    return colour + "A" * image.has_transparency_data
