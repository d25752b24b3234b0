"""TIFF: tifffile reads the numbers, and what the file says of them is applied here; Pillow is second."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, SAMPLEFORMAT, TiffFile, TiffPage

from fieldengine.errors import DataError
from fieldengine.files.image_formats.colour import INKS_MIXED, mixed, profile_note
from fieldengine.files.image_formats.pillow import opened, stored
from fieldengine.files.image_formats.stored import Stored, require_size, several, turned_back

COLOURS = {  # how many samples make a colour
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
}
CONVERTED = (PHOTOMETRIC.YCBCR, PHOTOMETRIC.CIELAB)  # to RGB by Pillow
INKSET_CMYK = 1
EXTRA = "fieldengine[images]"
MAX_SAMPLES = 16  # a pixel; more are measurements, not an image


def read_tiff(path: Path) -> Stored:
    """The first page in full resolution. Raises DataError for colours and numbers that are not read."""
    with _unlogged(), TiffFile(path) as file:
        pages = _pages(file)
        whole = [page for page in pages if not page.is_reduced] or pages
        if not whole:
            raise ValueError("the TIFF holds no image")
        page = whole[0]
        samples = max(page.samplesperpixel, 1)
        if samples > MAX_SAMPLES:
            raise DataError(path, f"has {samples} samples a pixel; an image has 1 to 4, and {MAX_SAMPLES} are read")
        require_size(path, page.imagewidth, page.imagelength)
        if page.is_tiled:
            require_size(path, page.tilewidth, page.tilelength)
        _require_whole(page, path.stat().st_size)
        count = max(len(whole), _planes(file, page))
        found = _page(path, page)
        profile = _tag(page, "InterColorProfile")
    colour = () if found.notes else profile_note(profile if isinstance(profile, bytes) else None)
    notes = (*several(count), *found.notes, *colour)
    return Stored(found.values, found.highest, found.orientation, found.premultiplied, notes)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Inside the block tifffile prints nothing of odd tags: what matters of them is said in words of ours."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _pages(file: TiffFile) -> list[TiffPage]:
    """Every page. Raises ValueError where one names an earlier one as the next, which tifffile follows for ever."""
    pages: list[TiffPage] = []
    seen: set[int] = set()
    for page in file.pages:
        if page.offset in seen:
            raise ValueError("the pages of the TIFF go round in a circle")
        seen.add(page.offset)
        if isinstance(page, TiffPage):
            pages.append(page)
    return pages


def _planes(file: TiffFile, page: TiffPage) -> int:
    """Images that ImageJ keeps behind a single page, and the planes of a volume."""
    metadata = file.imagej_metadata or {}
    return max(int(metadata.get("images", 1)), page.imagedepth)


def _page(path: Path, page: TiffPage) -> Stored:
    photometric = _photometric(page)
    if photometric in CONVERTED:
        return _through_pillow(
            path, page, f"stores {photometric.name} colours of {page.bitspersample} bits, which are not read; write RGB"
        )
    if photometric not in COLOURS:
        name = getattr(photometric, "name", photometric)
        raise DataError(path, f"stores colours as {name}; grey, RGB, palette, CMYK, YCbCr and CIELAB are read")
    if photometric is PHOTOMETRIC.SEPARATED and _tag(page, "InkSet", INKSET_CMYK) != INKSET_CMYK:
        raise DataError(path, "stores inks other than cyan, magenta, yellow and black; write it as RGB")
    if not isinstance(page.bitspersample, int) or page.dtype is None or page.dtype.kind not in "buif":
        raise DataError(path, f"holds {_kind(page)}, which are not read; write integers or floats of up to 64 bits")
    try:
        samples = page.asarray(squeeze=False, maxworkers=1)
    except (ValueError, NotImplementedError, ImportError) as reason:
        if "imagecodecs" not in str(reason) and not isinstance(reason, ImportError):
            raise
        packed = "" if page.compression == COMPRESSION.NONE else f", packed by {COMPRESSION(page.compression).name}"
        return _through_pillow(path, page, f"holds {_kind(page)}{packed}, which needs imagecodecs; install {EXTRA}")
    values = np.moveaxis(samples[:, 0], 0, -2).reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
    return _coloured(path, page, photometric, values)


def _coloured(path: Path, page: TiffPage, photometric: PHOTOMETRIC, values: NDArray[Any]) -> Stored:
    """Numbers of a page -> grey or RGB, with alpha where the page says that a sample is alpha."""
    _require_data(path, page, values)
    bits = int(page.bitspersample)
    unsigned = values.dtype.kind in "bu"
    if unsigned and bits > 16 and photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB):
        raise DataError(path, f"stores {photometric.name} colours of {bits} bits; up to 16 are read")
    highest = (1 << bits) - 1 if unsigned and bits <= 16 else None
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    base = COLOURS[photometric]
    if values.shape[2] < base:
        raise DataError(path, f"has {values.shape[2]} samples a pixel, too few for {photometric.name} colours")
    colour, alpha, associated, notes = values[..., :base], *_alpha(page, values, base)
    if photometric in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE, PHOTOMETRIC.SEPARATED) and highest is None:
        raise DataError(path, f"stores {photometric.name} colours as {values.dtype}; unsigned integers are read")
    if highest is not None and associated and photometric is not PHOTOMETRIC.RGB and base != 1:
        raise DataError(path, f"stores {photometric.name} colours times alpha; write it as RGB")
    if photometric is PHOTOMETRIC.MINISWHITE and highest is not None:
        if associated:
            raise DataError(path, "stores grey from white to black times alpha; write it from black to white")
        colour = (highest - colour).astype(values.dtype)
    elif photometric is PHOTOMETRIC.PALETTE:
        colour, alpha, highest = _looked_up(path, page, colour, alpha, highest)
    elif photometric is PHOTOMETRIC.SEPARATED and highest is not None:
        colour, notes = mixed(colour, highest), [INKS_MIXED, *notes]
    if photometric is not PHOTOMETRIC.PALETTE:
        notes = [*notes, *_limit_note(page, highest)]
    joined = colour if alpha is None else np.concatenate([colour, alpha], axis=-1)
    orientation = int(_tag(page, "Orientation", 1))
    return Stored(joined, highest, orientation, associated and alpha is not None, tuple(notes))


def _alpha(page: TiffPage, values: NDArray[Any], base: int) -> tuple[NDArray[Any] | None, bool, list[str]]:
    """The sample that is alpha, whether colour is stored times it, and what is to be said of the others."""
    beyond = values.shape[2] - base
    kinds = [*page.extrasamples][:beyond]
    alphas = [i for i, kind in enumerate(kinds) if kind in (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)]
    if alphas:
        at = base + alphas[0]
        left = f"holds {beyond} samples beside its colours; one is used, as transparency"
        return values[..., at : at + 1], kinds[alphas[0]] == EXTRASAMPLE.ASSOCALPHA, [left] if beyond > 1 else []
    if beyond:
        said = f"holds {beyond} sample{'s' if beyond > 1 else ''} beside its colours that it does not call transparency"
        return None, False, [f"{said}; {'they are' if beyond > 1 else 'it is'} left out"]
    return None, False, []


def _looked_up(
    path: Path, page: TiffPage, indices: NDArray[Any], alpha: NDArray[Any] | None, highest: int | None
) -> tuple[NDArray[Any], NDArray[Any] | None, int]:
    """Colours of a palette, which are of 16 bits; those made from 8 bits, times 256 or 257, become 8 bits again."""
    table = page.colormap
    if table is None or indices.max(initial=0) >= table.shape[1]:
        raise DataError(path, "names colours that its palette does not have")
    small = table.max(initial=0) < 256  # by mistake some programs write 8 bits where 16 belong
    if small or not (table % 257).any() or not (table % 256).any():
        table = (table if small else table >> 8).astype(np.uint8)
    colour = np.moveaxis(table[:, indices[..., 0]], 0, -1)
    top = int(np.iinfo(table.dtype).max)
    if alpha is not None:
        alpha = np.rint(alpha.astype(np.float64) / (highest or top) * top).astype(table.dtype)
    return colour, alpha, top


def _limit_note(page: TiffPage, highest: int | None) -> list[str]:
    said = _tag(page, "MaxSampleValue")
    top = max(said) if isinstance(said, tuple) and said else said
    if highest is None or not isinstance(top, int) or top in (0, highest):
        return []
    return [
        f"says its numbers end at {top}; they are read as 0 to {highest}. "
        f"`value_range: [0, {top}]` of an image data set makes {top} white"
    ]


def _require_data(path: Path, page: TiffPage, values: NDArray[Any]) -> None:
    """Raises DataError where pixels have the number that means "no data"."""
    text = _tag(page, "GDAL_NODATA")
    if text is None:
        return
    try:
        number = float(str(text).strip("\0 "))
    except ValueError:
        return
    bare = int((np.isnan(values) if np.isnan(number) else values == number).any(axis=-1).sum())
    if bare:
        raise DataError(path, f"says that {bare:,} pixels have no data (they hold {number:g}); fill or crop them")


def _require_whole(page: TiffPage, size: int) -> None:
    """Raises ValueError where strips or tiles are missing, which tifffile fills with zeros."""
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != len(counts) or not offsets:
        raise ValueError("the TIFF is cut short")
    if any(count == 0 or at + count > size for at, count in zip(offsets, counts, strict=True)):
        raise ValueError("the TIFF is cut short: strips of pixels are missing")
    if page.compression == COMPRESSION.NONE and isinstance(page.bitspersample, int) and not page.is_subsampled:
        width = page.tilewidth or page.imagewidth
        across = page.samplesperpixel if page.planarconfig == 1 else 1
        rows = sum(counts) // -(-width * across * page.bitspersample // 8)
        wanted = page.imagelength * (1 if page.planarconfig == 1 else page.samplesperpixel)
        if rows < wanted:
            raise ValueError("the TIFF is cut short: it holds fewer rows than it says")


def _through_pillow(path: Path, page: TiffPage, refusal: str) -> Stored:
    """A page of 8 bits or fewer, or 16-bit grey, which Pillow turns upright unasked; of others, the refusal."""
    plain = page.bitspersample in (1, 2, 4, 8) or (page.bitspersample == 16 and page.samplesperpixel == 1)
    if not plain or page.sampleformat not in (SAMPLEFORMAT.UINT, SAMPLEFORMAT.VOID) or page.index != 0:
        raise DataError(path, refusal)
    try:
        with opened(path, "TIFF") as image:
            found = stored(image)
    except (OSError, SyntaxError, ValueError) as reason:
        raise DataError(path, refusal) from reason
    orientation = int(_tag(page, "Orientation", 1))
    return Stored(turned_back(found.values, orientation), found.highest, orientation, notes=found.notes[:1])


def _photometric(page: TiffPage) -> PHOTOMETRIC:
    """Where a file does not say how to read its numbers: RGB for three samples or more, else from black to white."""
    if "PhotometricInterpretation" in page.tags:
        return page.photometric  # pyright: ignore[reportReturnType]
    return PHOTOMETRIC.RGB if page.samplesperpixel >= 3 else PHOTOMETRIC.MINISBLACK


def _kind(page: TiffPage) -> str:
    kinds = {1: "unsigned integers", 2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex numbers"}
    return f"{kinds.get(int(page.sampleformat or 0), 'numbers')} of {page.bitspersample} bits"


def _tag(page: TiffPage, name: str, default: Any = None) -> Any:
    tag = page.tags.get(name)
    return default if tag is None else tag.value
