"""Pixels as a file stores them, with what the file says about them; and how they become values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldengine.errors import DataError

MAX_PIXELS = (
    89_478_485  # as in Pillow: a file of a few bytes can promise any size, and this one takes a quarter of a GB
)
UNDONE = {6: 8, 8: 6}  # every other orientation is its own inverse


@dataclass(frozen=True)
class Stored:
    """What a reader found.

    Attributes:
        values: (height, width, channels), numbers as stored; 1 to 4 channels, the last of 2 or 4 is alpha.
        highest: the number that stands for 1; None where no number does: floats, signed and 32-bit integers.
        orientation: how the picture is to be turned to stand upright, 1 to 8 as in EXIF.
        premultiplied: whether colour is stored times alpha.
        notes: what the user should know, a sentence each.
    """

    values: NDArray[Any]
    highest: int | None = None
    orientation: int = 1
    premultiplied: bool = False
    notes: tuple[str, ...] = ()

    @property
    def has_alpha(self) -> bool:
        return self.values.shape[2] in (2, 4)


def require_size(path: Path, width: int, height: int) -> None:
    """Raises DataError for a size that no image has in good faith; to be called before anything is decoded."""
    if width < 1 or height < 1:
        raise DataError(path, f"cannot be read as an image: it says it is {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise DataError(
            path, f"says it is {width}x{height} pixels, which is too large to open safely; {MAX_PIXELS:,} pixels fit"
        )


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(height, width, channels) as stored -> upright; `orientation` as in EXIF, others than 2 to 8 change nothing."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return np.ascontiguousarray(values)


def turned_back(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Upright -> as stored: the inverse of `turned`."""
    return turned(values, UNDONE.get(orientation, orientation))


def several(count: int, what: str = "images") -> tuple[str, ...]:
    """The note on a file of which only the first image is read."""
    return (f"holds {count} {what}; the first one is used",) if count > 1 else ()
