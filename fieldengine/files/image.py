"""Image files: which reader takes which, so that depth, range and transparency are kept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from fieldengine.errors import DataError

DEEP_PNG = {2: "rgb48le", 4: "ya16le", 6: "rgba64le"}  # ffmpeg's name for 16-bit pixels of each colour type
ORIENTATION = 0x0112  # the tag of EXIF


@dataclass(frozen=True)
class ImageFile:
    """What a file holds.

    Attributes:
        values: (height, width, channels), uint8 or uint16; 1 to 4 channels, the last of 2 or 4 is straight alpha.
        notes: what the user should know of how the file was read, a sentence each.
    """

    values: NDArray[np.uint8] | NDArray[np.uint16]
    notes: tuple[str, ...] = ()


def read_image(path: Path, turn: bool = True) -> ImageFile:
    """The first image of a file.

    Palettes become colours, masks become 0 and 255. With `turn` it is turned as its orientation tag says.

    Raises DataError for what is missing, a folder, empty, cut short, not an image, or too large to be one in good
    faith.
    """
    if path.is_dir():
        found = sorted(p.name for p in path.iterdir())[:5]
        raise DataError(path, f"is a folder; name one image file. It holds: {', '.join(found) or 'nothing'}")
    if not path.exists():
        raise DataError(path, "no such file. Set `dataset.path` to an image")
    if path.stat().st_size == 0:
        raise DataError(path, "is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PillowImage.DecompressionBombWarning)
            image = iio.imread(path, index=0, **_how_to_read(path, turn))
    except DataError:
        raise
    except PillowImage.DecompressionBombWarning as reason:
        raise DataError(path, f"is too large to open safely: {reason}") from reason
    except Exception as reason:  # every reader behind imageio fails in its own way; the user needs one sentence
        said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        text = " ".join(str(said).split())
        raise DataError(path, f"cannot be read as an image: {text[:200]}") from reason
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * 255
    if np.issubdtype(image.dtype, np.floating):
        if not np.isfinite(image).all():
            raise DataError(path, "holds values that are not finite")
        image = np.round(np.clip(image, 0.0, 1.0) * 65535).astype(np.uint16)
    if image.dtype == np.int32:  # 16-bit grey in some formats
        image = np.clip(image, 0, 65535).astype(np.uint16)
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(path, f"holds {image.dtype} values; 8 and 16 bit images are understood")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] > 4:
        raise DataError(path, f"is an array of shape {image.shape}; expected height, width and 1 to 4 channels")
    return ImageFile(image)


def _how_to_read(path: Path, turn: bool) -> dict[str, Any]:
    """What imageio must be told so that nothing of the image is lost."""
    with path.open("rb") as file:
        head = file.read(26)
    # PNG: signature, IHDR; byte 24 is the bit depth, byte 25 the colour type. Pillow cuts 16-bit colour to 8 bits.
    if len(head) == 26 and head[:8] == b"\x89PNG\r\n\x1a\n" and head[24] == 16 and head[25] in DEEP_PNG:
        width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
        if width * height > (PillowImage.MAX_IMAGE_PIXELS or 1 << 27):
            raise DataError(path, f"says it is {width}x{height} pixels, too large to open safely")
        return {"plugin": "pyav", "format": DEEP_PNG[head[25]]}
    try:
        with PillowImage.open(path) as image:
            mode, transparent = image.mode, "transparency" in image.info
            turned = turn and image.getexif().get(ORIENTATION, 1) != 1
    except (OSError, ValueError, SyntaxError):  # not Pillow's; imageio has other readers
        return {}
    # a photograph taken sideways says so; imageio then turns it as every viewer does
    how: dict[str, Any] = {"plugin": "pillow", "rotate": True} if turned else {}
    if mode == "P":
        how["mode"] = "RGBA" if transparent else "RGB"
    elif mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        how["mode"] = "RGB"
    return how
