"""One image as a signal over the plane."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Generator, Tensor

from fieldengine.cameras.grid import SignalGrid
from fieldengine.datasets.images import color as named_color
from fieldengine.datasets.images import downscaled, over, premultiplied, to_float
from fieldengine.datasets.mask import NO_MASK, Mask, Whole
from fieldengine.errors import DataError
from fieldengine.files.image import read_image
from fieldengine.files.image_range import require_unit_range
from fieldengine.types import Aabb, Batch, Domain, RunContext, View

DEEPEST_CAMERA = (1 << 14) - 1  # sensors of 10, 12 and 14 bits are stored in 16 without being scaled
Unit = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Image:
    """An image, each pixel an item.

    Grey or colour, integers or floats, with or without transparency. With a mask (inpainting) only pixels that it
    leaves are items; scores are of the whole image, `hidden_psnr` and `observed_psnr` of the two parts.

    Scene: `dataset: {type: image, path: photo.png}`, `mask: {random: 0.5}`, `mask: {rows: [70, 99], cols: [150, 189]}`
    or `mask: mask.png`
    """

    default_field: ClassVar[str] = "signal"
    default_renderer: ClassVar[str] = "direct"
    default_metrics: ClassVar[tuple[str, ...]] = ("psnr", "ssim")

    path: Path
    """the image file"""
    crop: tuple[Whole, Whole, Whole, Whole] | None = None
    """left, top, width and height in pixels of the part to fit; null is all of it"""
    value_range: tuple[float, float] | None = None
    """values, as stored, that become 0 and 1; null: the range of the format, 0 to 1 for floating point"""
    downscale: Annotated[int, Field(ge=1)] = 1
    """average this many pixels each way into one"""
    grid: Literal["corners", "centres", "isotropic"] = "corners"
    """coordinates of pixels: outermost at -1 and 1; edges at -1 and 1; or one spacing for both axes"""
    background: Literal["white", "black", "grey"] | tuple[Unit, Unit, Unit] | None = None
    """put a transparent image on this colour; null fits transparency as a fourth channel"""
    mask: Mask = NO_MASK
    """pixels that are not learnt from, or an image that is dark there"""

    def __post_init__(self) -> None:
        if self.value_range is not None:
            low, high = self.value_range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"value_range runs from {low:g} to {high:g}; write two numbers, the lower one first")

    def build(self, *, context: RunContext) -> ImageDataset:
        file = read_image(self.path, value_range=self.value_range)
        low, high = float(file.values.min()), float(file.values.max())
        require_unit_range(self.path, file.values, f"Set `dataset.value_range: [{min(low, 0):.6g}, {high:.6g}]`")
        stored = torch.from_numpy(file.values)
        whole = (stored.shape[0], stored.shape[1])
        if self.crop is not None:
            stored = cropped(stored, self.crop, self.path)
        # bytes stay bytes until they are asked for, unless they are to be mixed: a quarter of the memory
        mixed = stored.shape[2] in (2, 4) or self.downscale > 1
        image = stored if stored.dtype == torch.uint8 and not mixed else to_float(stored)
        has_alpha = image.shape[2] in (2, 4)
        if has_alpha and (self.background is not None or self.downscale > 1):
            image = premultiplied(image)
        if self.downscale > 1:
            image = downscaled(image, self.downscale)
        if has_alpha and self.background is not None:
            image = over(image, named_color(self.background))
        elif has_alpha and self.downscale > 1:
            image = torch.cat([image[..., :-1] / image[..., -1:].clamp(min=1e-6), image[..., -1:]], dim=-1)
        if min(image.shape[:2]) < 2:
            size = f"{image.shape[1]}x{image.shape[0]}"
            shrunk = f" after downscale {self.downscale}" if self.downscale > 1 else ""
            raise DataError(self.path, f"is {size} pixels{shrunk}; a field needs at least 2x2")
        mask = self.mask.image()
        hidden = self.mask.hidden(image.shape[0], image.shape[1], whole, self.crop, self.downscale, mask)
        said = (*file.notes, *doubts(file.values, scaled=self.value_range is not None))
        notes = [f"{self.path}: {note}" for note in said]
        notes += [f"{self.mask.file}: {note}" for note in (mask.notes if mask else ())]
        files = (self.path,) if self.mask.file is None else (self.path, self.mask.file)
        hidden = None if hidden is None else hidden.to(context.device)
        return ImageDataset(image.to(context.device), self.grid, hidden, notes, files)


def cropped(image: Tensor, crop: tuple[int, int, int, int], path: Path) -> Tensor:
    """A part of an image (h, w, c). Raises DataError where it does not lie inside."""
    left, top, width, height = crop
    high, wide = image.shape[:2]
    if left + width > wide or top + height > high:
        raise DataError(
            path, f"is {wide}x{high} pixels; crop asks for {width}x{height} from ({left}, {top}), which leaves it"
        )
    return image[top : top + height, left : left + width].contiguous()


def doubts(values: NDArray[Any], *, scaled: bool) -> Iterator[str]:
    """What to say of an image (h, w, c) from which little can be learnt; `scaled` where its range was given."""
    colour = values[..., :-1] if values.shape[2] in (2, 4) else values
    if (values == values[:1, :1]).all():
        yield "every pixel has the same value, so there is nothing to learn"
    elif colour.shape[2] < values.shape[2] and not values[..., -1].any():
        yield "is transparent everywhere"
    elif values.dtype == np.uint16 and colour.max() <= DEEPEST_CAMERA and not scaled:
        top = int(colour.max())
        yield f"its 16-bit values end at {top}, so it is dark; `dataset.value_range: [0, {top}]` makes {top} white"


class ImageDataset:
    """Pixels in memory, row by row. There is one image and so one split: every split is the image.

    Items are the pixels that `hidden` (height, width) does not hide, in their order.
    """

    splits = ()
    surface = None

    def __init__(
        self,
        image: Tensor,
        placement: Literal["corners", "centres", "isotropic"],
        hidden: Tensor | None = None,
        notes: Sequence[str] = (),
        files: Sequence[Path] = (),
    ):
        self._notes, self.files = notes, files
        height, width, channels = image.shape
        self.grid = SignalGrid.of((height, width), placement)
        self.pixels = image.reshape(-1, channels)
        self.hidden = None if hidden is None else hidden.flatten()
        self.observed = None if self.hidden is None else (~self.hidden).nonzero()[:, 0]
        self.n_items = len(self.pixels if self.observed is None else self.observed)
        self.domain = Domain(
            task="image",
            aabb=Aabb.of([-1.0, -1.0], [1.0, 1.0]).to(image.device),
            out_dim=channels,
            grid=self.grid,
        )

    def batch(self, indices: Tensor, generator: Generator) -> Batch:
        pixels = indices if self.observed is None else self.observed[indices]
        return Batch(self.grid.items(pixels), to_float(self.pixels[pixels]), None, indices)

    def views(self, split: str) -> Sequence[View]:
        return [View("image", self.grid, to_float(self.pixels), None, self.hidden)]

    def notes(self) -> Sequence[str]:
        return self._notes
