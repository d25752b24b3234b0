"""Image files: which reader takes which, so that depth, range and transparency are kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldengine.errors import DataError
from fieldengine.files.image_formats.avif import read_avif
from fieldengine.files.image_formats.bmp import read_bmp
from fieldengine.files.image_formats.exr import read_exr
from fieldengine.files.image_formats.hdr import read_hdr
from fieldengine.files.image_formats.jpeg import read_jpeg
from fieldengine.files.image_formats.jpeg2000 import read_jpeg2000
from fieldengine.files.image_formats.netpbm import read_netpbm
from fieldengine.files.image_formats.pillow import read_with_pillow
from fieldengine.files.image_formats.png import read_png
from fieldengine.files.image_formats.stored import Stored, turned
from fieldengine.files.image_formats.tga import SIGNATURE, read_tga
from fieldengine.files.image_formats.tiff import read_tiff
from fieldengine.files.image_range import lost_light, values_of


@dataclass(frozen=True)
class ImageFile:
    """What a file holds.

    Attributes:
        values: (height, width, channels); uint8 or uint16, whose highest numbers stand for 1, or float32 as it is; 1 to
            4 channels, the last of 2 or 4 is straight alpha in [0, 1].
        orientation: what the file says of how the picture lies, as EXIF counts it; 1 is upright.
        notes: what the user should know of how the file was read, a sentence each.
    """

    values: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
    orientation: int = 1
    notes: tuple[str, ...] = ()


class Format(NamedTuple):
    """A format, the first bytes by which it is known, and its reader."""

    name: str
    begins: bytes
    read: Callable[[Path], Stored]


FORMATS = (
    Format("PNG", rb"\x89PNG\r\n\x1a\n", read_png),
    Format("JPEG", rb"\xff\xd8\xff", read_jpeg),
    Format("TIFF", rb"II[*+]\0|MM\0[*+]", read_tiff),
    Format("OpenEXR", rb"\x76\x2f\x31\x01", read_exr),
    Format("Radiance HDR", rb"#\?(RADIANCE|RGBE)", read_hdr),
    Format("PBM, PGM, PPM, PAM, PFM", rb"P[1-7]\s|P[fF]4?\s", read_netpbm),
    Format("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", read_jpeg2000),
    Format("AVIF", rb"....ftyp(?:avi[fs]|.{8,40}?avi[fs])", read_avif),
    Format("WebP", rb"RIFF....WEBP", partial(read_with_pillow, kind="WEBP")),
    Format("GIF", rb"GIF8[79]a", partial(read_with_pillow, kind="GIF")),
    Format("BMP", rb"BM", read_bmp),
    Format("PCX", rb"\x0a[\0\x02-\x05][\0\x01]", partial(read_with_pillow, kind="PCX")),
)
TGA = Format("TGA", b"", read_tga)  # begins like anything, so it is known by its end or by its name


def read_image(path: Path, *, turn: bool = True, value_range: tuple[float, float] | None = None) -> ImageFile:
    """The first image of a file, whatever the file is called.

    Palettes become colours, masks become 0 and 255, inks become RGB, colour stored times alpha becomes straight.

    Args:
        turn: turn a picture upright where it says how it lies; without it, pixels are as stored.
        value_range: numbers, as stored, that become 0 and 1; alpha keeps the range of the format. None is that range
            for all: 0 to the highest of unsigned integers of up to 16 bits, and floats as they are.

    Raises DataError for what is missing, a folder, empty, cut short, not an image, too large to be one in good faith,
    for integers whose range nobody says, numbers that are not finite, and numbers outside `value_range`.
    """
    if path.is_dir():
        found = sorted(p.name for p in path.iterdir())[:5]
        raise DataError(path, f"is a folder; name one image file. It holds: {', '.join(found) or 'nothing'}")
    if not path.exists():
        raise DataError(path, "no such file. Set `dataset.path` to an image")
    if path.stat().st_size == 0:
        raise DataError(path, "is empty (0 bytes)")
    try:
        stored = _format_of(path).read(path)
    except DataError:
        raise
    except Exception as reason:  # every library fails in its own way; the user needs one sentence
        said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        text = " ".join(str(said).split())
        raise DataError(path, f"cannot be read as an image: {text[:200]}") from reason
    values = values_of(path, stored, value_range)
    notes = (*stored.notes, *lost_light(stored))
    return ImageFile(turned(values, stored.orientation) if turn else values, stored.orientation, notes)


def _format_of(path: Path) -> Format:
    """The format whose first bytes a file has. Raises DataError where there is none."""
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(max(path.stat().st_size - len(SIGNATURE), 0))
        end = file.read()
    for known in FORMATS:
        if re.match(known.begins, head, re.DOTALL):
            return known
    if end == SIGNATURE or path.suffix.lower() == ".tga":
        return TGA
    names = ", ".join(known.name for known in (*FORMATS, TGA))
    raise DataError(path, f"cannot be read as an image: it begins like none of {names}")
