"""Which pixels of an image are hidden from training, for inpainting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fieldengine.datasets.images import downscaled, premultiplied, to_float
from fieldengine.errors import DataError
from fieldengine.files.image import ImageFile, read_image
from fieldengine.files.image_range import require_unit_range

Whole = Annotated[int, Field(ge=0)]
Span = tuple[Whole, Whole]


@dataclass(frozen=True)
class Mask:
    """What of an image is hidden. A pixel is hidden where any of the keys hides it.

    The pixels are those of the image as it is fitted, after crop and downscale. A path alone stands for `file`.
    """

    shorthand: ClassVar[str] = "file"

    random: Annotated[float, Field(gt=0, lt=1)] | None = None
    """hide each pixel with this chance"""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 88
    """of `random`: pixels are hidden where numpy.random.RandomState(seed).random_sample((height, width)) <= random"""
    rows: Span | tuple[Span, ...] | None = None
    """hide a patch from its first to its last row, counted from 0, [70, 99], or several; null takes every row"""
    cols: Span | tuple[Span, ...] | None = None
    """first and last column of the patch, or of as many patches as `rows` has; null takes every column"""
    file: Path | None = None
    """hide where this image is dark, below mid-grey, or transparent; as large as the image as it is fitted, or as its
    file, and then cropped and averaged like it"""

    def __post_init__(self) -> None:
        rows, cols = spans(self.rows), spans(self.cols)
        for name, found in (("rows", rows), ("cols", cols)):
            for first, last in found:
                if last < first:
                    raise ValueError(f"{name} runs from {first} to {last}; write the first one first")
        if self.rows is not None and self.cols is not None and len(rows) != len(cols):
            raise ValueError(f"{len(rows)} rows and {len(cols)} cols; each patch has one of both")

    def image(self) -> ImageFile | None:
        """What `file` holds, None without one. Raises DataError where it cannot be used as a mask."""
        if self.file is None:
            return None
        if not self.file.exists():
            raise DataError(self.file, "no such file. Set `dataset.mask` to an image, or to {random: 0.5}")
        image = read_image(self.file)
        require_unit_range(self.file, image.values, "Scale the mask to 0 to 1")
        return image

    def hidden(
        self,
        height: int,
        width: int,
        stored: tuple[int, int],
        crop: tuple[int, int, int, int] | None,
        downscale: int,
        image: ImageFile | None,
    ) -> Tensor | None:
        """The hidden pixels of an image that is fitted at height x width, (height, width) bool; None without a mask.

        `stored` is the height and width of the image in its file, `image` what the method of that name found. Raises
        ValueError for a patch that leaves the image and where nothing or everything is hidden, DataError for a mask
        file that does not fit.
        """
        if self.random is None and self.rows is None and self.cols is None and self.file is None:
            return None
        hidden = torch.zeros(height, width, dtype=torch.bool)
        if self.random is not None:
            drawn = np.random.RandomState(self.seed).random_sample((height, width))
            hidden |= torch.from_numpy(drawn <= self.random)
        if self.rows is not None or self.cols is not None:
            rows = spans(self.rows) or [(0, height - 1)] * len(spans(self.cols))
            cols = spans(self.cols) or [(0, width - 1)] * len(rows)
            for name, found, most in (("rows", rows, height), ("cols", cols, width)):
                for first, last in found:
                    if last >= most:
                        raise ValueError(f"mask.{name} {first} to {last} leave the image, whose last is {most - 1}")
            for (top, bottom), (left, right) in zip(rows, cols, strict=True):
                hidden[top : bottom + 1, left : right + 1] = True
        if self.file is not None and image is not None:
            hidden |= dark(self.file, image, (height, width), stored, crop, downscale)
        n_hidden, n_pixels = int(hidden.sum()), hidden.numel()
        if n_hidden in (0, n_pixels):
            rest = "nothing is left to learn from" if n_hidden else "leave it out"
            raise ValueError(f"mask hides {n_hidden:,} of {n_pixels:,} pixels; {rest}")
        return hidden


def spans(given: Span | tuple[Span, ...] | None) -> list[Span]:
    """One span or several -> a list."""
    if not given:
        return []
    return [given] if isinstance(given[0], int) else list(given)  # pyright: ignore[reportReturnType]


def dark(
    path: Path,
    mask: ImageFile,
    size: tuple[int, int],
    stored: tuple[int, int],
    crop: tuple[int, int, int, int] | None,
    downscale: int,
) -> Tensor:
    """Where a mask image is below mid-grey, (height, width) bool. Raises DataError where its size does not fit."""
    image = to_float(torch.from_numpy(mask.values))
    if image.shape[2] in (2, 4):
        image = premultiplied(image)[..., :-1]
    bright = image.mean(dim=-1, keepdim=True)
    if bright.shape[:2] == stored and stored != size:
        left, top, width, height = crop or (0, 0, stored[1], stored[0])
        bright = downscaled(bright[top : top + height, left : left + width], downscale)
    if bright.shape[:2] != size:
        sizes = dict.fromkeys(f"{wide}x{high}" for high, wide in (size, stored))
        raise DataError(
            path, f"is {image.shape[1]}x{image.shape[0]} pixels; a mask of this image has {' or '.join(sizes)}"
        )
    return bright[..., 0] < 0.5


NO_MASK = Mask()
