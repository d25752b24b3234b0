"""Image files of every format, depth, alpha, compression, photometric, orientation and byte order that we can write."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from odd.case import Case
from PIL import Image, ImageCms

from fieldengine.errors import DataError
from fieldengine.files.image import read_image

HEIGHT, WIDTH = 13, 18  # odd, unequal and no multiple of a byte, a block or a tile
Judge = Callable[[Path], str]
Array = NDArray[Any]


def cases(folder: Path) -> Iterator[Case]:
    """Files are written as they are asked for."""
    families = (png, jpeg, tiff, tiff_refused, exr, hdr, pnm, pfm, through_pillow, deep_jpeg2000, broken)
    for family in families:
        for name, data, judge in family():
            path = folder / name
            path.write_bytes(data)
            yield Case(f"images/{name}", path, judge)


# ---------------------------------------------------------------------------------------------------------- judging


def shows(expected: Array, tolerance: float = 0.0, note: str = "", value_range: Any = None) -> Judge:
    """The file is read as these values, floats (h, w, c), with a note that has these words where some are given."""

    def judge(path: Path) -> str:
        try:
            found = read_image(path, value_range=value_range)
        except DataError as reason:
            return f"WRONG: refused, {reason}"
        top = {"uint8": 255, "uint16": 65535}.get(found.values.dtype.name, 1)
        values = found.values.astype(np.float64) / top
        if values.shape != expected.shape:
            return f"WRONG: shape {values.shape}, not {expected.shape}"
        off = float(np.abs(values - expected).max())
        if off > tolerance + 1e-7:
            return f"WRONG: off by {off:.3g}"
        if note and not any(note in said for said in found.notes):
            return f'WRONG: no note with "{note}" in {found.notes}'
        if not note and found.notes:
            return f"WRONG: an unexpected note, {found.notes}"
        return "right"

    return judge


def refused(words: str, value_range: Any = None) -> Judge:
    """The file is refused with these words."""

    def judge(path: Path) -> str:
        try:
            found = read_image(path, value_range=value_range)
        except DataError as reason:
            said = str(reason).removeprefix(f"{path}: ")
            return f"refused: {said}" if words in said else f'WRONG: refused without "{words}": {said}'
        return f"WRONG: read as {found.values.dtype} {found.values.shape}"

    return judge


def numbers(channels: int, highest: int, kind: Any, seed: int = 0) -> Array:
    """Random integers, both ends of the range among them."""
    values = np.random.default_rng(seed).integers(0, highest, (HEIGHT, WIDTH, channels), endpoint=True)
    values[0, 0], values[-1, -1] = 0, highest
    return values.astype(kind)


def smooth(channels: int) -> Array:
    """A picture that lossy formats keep, uint8."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    planes = (x, y, (x + y) / 2, 0.25 + x * y / 2)[:channels]
    return np.rint(255 * np.stack(planes, axis=-1)).astype(np.uint8)


def upright(values: Array, orientation: int) -> Array:
    """What EXIF means by an orientation, by Pillow."""
    ways = Image.Transpose
    way = {
        2: ways.FLIP_LEFT_RIGHT, 3: ways.ROTATE_180, 4: ways.FLIP_TOP_BOTTOM, 5: ways.TRANSPOSE, 6: ways.ROTATE_270,
        7: ways.TRANSVERSE, 8: ways.ROTATE_90,
    }.get(orientation)  # fmt: skip
    planes = [Image.fromarray(values[..., i].astype(np.float32)) for i in range(values.shape[2])]
    return np.stack([np.asarray(plane if way is None else plane.transpose(way)) for plane in planes], axis=-1)


# ----------------------------------------------------------------------------------------------------------- writing


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bytes(values: Array, depth: int, colour_type: int, *chunks: tuple[bytes, bytes], interlaced: bool = False):
    """A PNG of integers (h, w, c), without filters; chunks come before its pixels."""
    height, width = values.shape[:2]
    passes = [values]
    if interlaced:
        steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
        passes = [values[top::down, left::across] for top, left, down, across in steps]
    rows = b"".join(b"\0" + packed(row, depth) for part in passes if part.size for row in part)
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlaced))
    middle = b"".join(png_chunk(*chunk) for chunk in chunks)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + middle
        + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    )  # fmt: skip


def packed(row: Array, depth: int) -> bytes:
    """Integers of a row -> bytes, the high bit first."""
    if depth >= 8:
        return row.astype(f">u{depth // 8}").tobytes()
    bits = (row.reshape(-1, 1) >> np.arange(depth)[::-1]) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()


def by_pillow(values: Array, kind: str, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values.squeeze(), mode=mode).save(file, format=kind, **options)
    return file.getvalue()


def by_tifffile(values: Array, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"metadata": None, **options})
    return file.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


# ---------------------------------------------------------------------------------------------------------- formats


def png() -> Iterator[tuple[str, bytes, Judge]]:
    types = {"grey": (0, 1, (1, 2, 4, 8, 16)), "rgb": (2, 3, (8, 16)), "ya": (4, 2, (8, 16)), "rgba": (6, 4, (8, 16))}
    for name, (colour_type, channels, depths) in types.items():
        for depth, interlaced in itertools.product(depths, (False, True)):
            values = numbers(channels, (1 << depth) - 1, np.uint16)
            wanted = values / ((1 << depth) - 1)
            label = f"{name}{depth}{'_interlaced' if interlaced else ''}"
            yield f"{label}.png", png_bytes(values, depth, colour_type, interlaced=interlaced), shows(wanted)
            if channels in (1, 3):  # the colour of the last pixel means transparency
                key = values[-1, -1].astype(">u2").tobytes()
                alpha = (values != values[-1, -1]).any(axis=-1, keepdims=True)
                data = png_bytes(values, depth, colour_type, (b"tRNS", key), interlaced=interlaced)
                yield f"{label}_key.png", data, shows(np.concatenate([wanted, alpha], axis=-1))
    for depth, clear in itertools.product((1, 2, 4, 8), (False, True)):
        indices = numbers(1, (1 << depth) - 1, np.uint16)
        table = np.random.default_rng(1).integers(0, 256, (1 << depth, 3)).astype(np.uint8)
        alpha = np.random.default_rng(2).integers(0, 256, (1 << depth, 1)).astype(np.uint8)
        chunks = [(b"PLTE", table.tobytes())] + [(b"tRNS", alpha.tobytes())] * clear
        wanted = (np.concatenate([table, alpha], axis=-1) if clear else table)[indices[..., 0]] / 255
        yield f"palette{depth}{'_alpha' if clear else ''}.png", png_bytes(indices, depth, 3, *chunks), shows(wanted)
    for orientation, (name, depth) in itertools.product(range(2, 9), (("rgb", 8), ("rgb", 16), ("grey", 16))):
        colour_type, channels, _ = types[name]
        values = numbers(channels, (1 << depth) - 1, np.uint16)
        data = png_bytes(values, depth, colour_type, (b"eXIf", exif(orientation)[6:]))
        wanted = upright(values / ((1 << depth) - 1), orientation)
        yield f"{name}{depth}_turn{orientation}.png", data, shows(wanted, 1e-7)
    values = numbers(3, 255, np.uint8)
    plain, wanted = values / 255, shows(values / 255)
    for name, chunk, judge in (
        ("gamma_of_srgb", (b"gAMA", struct.pack(">I", 45455)), wanted),
        ("gamma_linear", (b"gAMA", struct.pack(">I", 100000)), shows(plain, note="gAMA")),
        ("srgb", (b"sRGB", b"\0"), wanted),
        ("cicp_srgb", (b"cICP", bytes([1, 13, 0, 1])), wanted),
        ("cicp_pq", (b"cICP", bytes([9, 16, 0, 1])), shows(plain, note="cICP")),
        ("profile_srgb", (b"iCCP", b"x\0\0" + zlib.compress(profile("sRGB"))), wanted),
        ("profile_xyz", (b"iCCP", b"x\0\0" + zlib.compress(profile("XYZ"))), shows(plain, note="profile")),
        ("profile_damaged", (b"iCCP", b"x\0\0garbage"), shows(plain, note="damaged")),
        ("animated", (b"acTL", struct.pack(">II", 3, 0)), shows(plain, note="3 frames")),
    ):
        yield f"{name}.png", png_bytes(values, 8, 2, chunk), judge


def profile(space: Any) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def jpeg() -> Iterator[tuple[str, bytes, Judge]]:
    for channels, progressive in itertools.product((1, 3), (False, True)):
        values = smooth(channels)
        data = by_pillow(values, "JPEG", quality=98, subsampling=0, progressive=progressive)
        yield f"{channels}{'_progressive' if progressive else ''}.jpg", data, shows(values / 255, 0.02)
        for share in (0.3, 0.6, 0.95):
            cut = data[: int(share * len(data))]
            name = f"{channels}{'_progressive' if progressive else ''}_cut{int(100 * share)}"
            yield f"{name}.jpg", cut, refused("cut short")
    blocks = np.kron(numbers(3, 255, np.uint8), np.ones((8, 8, 1), np.uint8))
    for progressive, share in itertools.product((False, True), (0.5, 0.97)):
        data = by_pillow(blocks, "JPEG", quality=90, progressive=progressive)
        holed = data[: int(share * len(data))] + b"\xff\xd9"
        yield f"holes{progressive}{int(share * 100)}.jpg", holed, refused("a part of its picture is missing")
    for orientation in range(2, 9):
        values = smooth(3)
        data = by_pillow(values, "JPEG", quality=98, subsampling=0, exif=exif(orientation))
        yield f"turn{orientation}.jpg", data, shows(upright(values / 255, orientation), 0.02)
    inks = smooth(4)
    inks[..., 3] //= 3
    data = by_pillow(inks, "JPEG", mode="CMYK", quality=98)
    wanted = (1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255)
    yield "inks.jpg", data, shows(wanted, 0.03, note="CMYK")
    data = by_pillow(smooth(3), "JPEG", quality=98, subsampling=0, icc_profile=profile("XYZ"))
    yield "profile.jpg", data, shows(smooth(3) / 255, 0.02, note="profile")


def tiff() -> Iterator[tuple[str, bytes, Judge]]:
    tops = {"u1": 255, "u2": 65535}
    for kind, channels, order in itertools.product(("u1", "u2", "f2", "f4", "f8"), (1, 3), "<>"):
        values = numbers(channels, tops.get(kind, 255), f"{order}u2" if kind in tops else np.uint16)
        values = (values.astype(kind) if kind in tops else (values / 255).astype(kind)).astype(f"{order}{kind}")
        wanted = values.astype(np.float64) / tops.get(kind, 1)
        photometric = "rgb" if channels == 3 else "minisblack"
        end = "little" if order == "<" else "big"
        stored = values if channels == 3 else values[..., 0]
        for compression in (None, "zlib", "lzw", "zstd"):
            data = by_tifffile(stored, photometric=photometric, compression=compression, byteorder=order)
            yield f"{kind}_{channels}_{end}_{compression}.tif", data, shows(wanted)
        predicted = {"photometric": photometric, "compression": "zlib", "predictor": True, "byteorder": order}
        yield f"{kind}_{channels}_{end}_predicted.tif", by_tifffile(stored, **predicted), shows(wanted)
        tiled = {"photometric": photometric, "tile": (16, 16), "byteorder": order}
        yield f"{kind}_{channels}_{end}_tiled.tif", by_tifffile(stored, **tiled), shows(wanted)
        if channels == 3:
            planes = np.moveaxis(values, -1, 0)
            planar = {"photometric": "rgb", "planarconfig": "separate", "byteorder": order, "rowsperstrip": 5}
            yield f"{kind}_{end}_planar.tif", by_tifffile(planes, **planar), shows(wanted)
        else:
            white = by_tifffile(stored, photometric="miniswhite", byteorder=order)
            judge = shows(1 - wanted) if kind in tops else refused("miniswhite".upper())
            yield f"{kind}_{end}_white.tif", white, judge
    for kind, alpha, colours in itertools.product(
        ("u1", "u2", "f4"), ("unassalpha", "assocalpha", "unspecified"), (1, 3)
    ):
        yield with_extra(kind, alpha, colours)
    for orientation, channels in itertools.product(range(2, 9), (1, 3)):
        values = numbers(channels, 65535, np.uint16)
        tags = [(274, "H", 1, orientation, True)]
        photometric = "rgb" if channels == 3 else "minisblack"
        data = by_tifffile(values.squeeze(), photometric=photometric, extratags=tags)
        yield f"{channels}_turn{orientation}.tif", data, shows(upright(values / 65535, orientation), 1e-7)
        data = by_pillow(smooth(channels), "TIFF", compression="tiff_lzw", exif=exif(orientation))
        yield f"{channels}_lzw_turn{orientation}.tif", data, shows(upright(smooth(channels) / 255, orientation), 1e-7)
    yield from tiff_small()


def with_extra(kind: str, alpha: str, colours: int) -> tuple[str, bytes, Judge]:
    top = {"u1": 255, "u2": 65535}.get(kind, 1)
    values = numbers(colours + 1, 255, np.uint16) / 255
    values[..., -1] = 0.25 + 0.75 * values[..., -1]
    if alpha == "assocalpha":
        values[..., :-1] *= values[..., -1:]
    stored = np.rint(values * top).astype(kind) if top > 1 else values.astype(kind)
    read = stored.astype(np.float64) / top
    if alpha == "unspecified":
        judge = shows(read[..., :-1], note="left out")
    elif alpha == "assocalpha":
        straight = np.minimum(read[..., :-1] / read[..., -1:], 1)
        judge = shows(np.concatenate([straight, read[..., -1:]], axis=-1), 0.51 / top if top > 1 else 1e-6)
    else:
        judge = shows(read)
    photometric = "rgb" if colours == 3 else "minisblack"
    data = by_tifffile(stored, photometric=photometric, extrasamples=[alpha], planarconfig="contig")
    return f"{kind}_{colours}_{alpha}.tif", data, judge


def tiff_small() -> Iterator[tuple[str, bytes, Judge]]:
    """Bits, palettes, inks, several pages, and compressions of 8 bits."""
    bits = numbers(1, 1, np.uint8)
    for compression in ("raw", "packbits", "group3", "group4", "tiff_lzw", "tiff_adobe_deflate"):
        data = by_pillow(bits.astype(bool), "TIFF", compression=compression)
        yield f"bit_{compression}.tif", data, shows(bits.astype(float))
    for compression in ("packbits", "tiff_lzw", "tiff_deflate", "zstd", "lzma"):
        data = by_pillow(numbers(3, 255, np.uint8), "TIFF", compression=compression)
        yield f"rgb_{compression}.tif", data, shows(numbers(3, 255, np.uint8) / 255)
    yield "rgb_jpeg.tif", by_pillow(smooth(3), "TIFF", compression="jpeg", quality=98), shows(smooth(3) / 255, 0.03)
    yield "grey_jpeg.tif", by_pillow(smooth(1), "TIFF", compression="jpeg", quality=98), shows(smooth(1) / 255, 0.02)
    inks = numbers(4, 255, np.uint8)
    mixed = (1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255)
    yield "inks.tif", by_tifffile(inks, photometric="separated"), shows(mixed, 0.51 / 255, note="CMYK")
    deep = numbers(4, 65535, np.uint16)
    mixed = (1 - deep[..., :3] / 65535) * (1 - deep[..., 3:] / 65535)
    yield "inks16.tif", by_tifffile(deep, photometric="separated"), shows(mixed, 0.51 / 65535, note="CMYK")
    indices = numbers(1, 255, np.uint8)[..., 0]
    for name, factor in (("8as16", 257), ("8shifted", 256), ("8", 1)):
        table = np.random.default_rng(1).integers(0, 256, (3, 256)).astype(np.uint16)
        wanted = np.moveaxis(table[:, indices], 0, -1) / 255
        data = by_tifffile(indices, photometric="palette", colormap=table * np.uint16(factor))
        yield f"palette_{name}.tif", data, shows(wanted)
    table = np.random.default_rng(1).integers(0, 65536, (3, 256)).astype(np.uint16)
    wanted = np.moveaxis(table[:, indices], 0, -1) / 65535
    yield "palette_16.tif", by_tifffile(indices, photometric="palette", colormap=table), shows(wanted)
    pages = np.stack([numbers(3, 255, np.uint8, seed) for seed in range(3)])
    yield "pages.tif", by_tifffile(pages, photometric="rgb"), shows(pages[0] / 255, note="3 images")
    hyper = np.stack([numbers(1, 65535, np.uint16, seed)[..., 0] for seed in range(3)])
    data = by_tifffile(hyper, imagej=True, metadata={})
    yield "imagej.tif", data, shows(hyper[0][..., None] / 65535, note="3 images")
    volume = by_tifffile(hyper, volumetric=True, tile=(16, 16, 16), photometric="minisblack")
    yield "volume.tif", volume, shows(hyper[0][..., None] / 65535, note="3 images")
    yield "big.tif", by_tifffile(pages[0], photometric="rgb", bigtiff=True), shows(pages[0] / 255)
    limit = [(281, "H", 1, 4095, True)]
    data = by_tifffile(hyper[0] >> 4, photometric="minisblack", extratags=limit)
    yield "limit.tif", data, shows((hyper[0] >> 4)[..., None] / 65535, note="4095")
    data = by_tifffile(pages[0], photometric="rgb", iccprofile=profile("XYZ"))
    yield "profile.tif", data, shows(pages[0] / 255, note="profile")
    for compression in ("raw", "group3", "group4", "packbits"):
        data = by_pillow(bits.astype(bool), "TIFF", compression=compression, tiffinfo={262: 0})
        yield f"bit_white_{compression}.tif", data, shows(bits.astype(float))
    file = io.BytesIO()
    Image.fromarray(smooth(3)).convert("YCbCr").save(file, "TIFF")
    yield "ycbcr.tif", file.getvalue(), shows(smooth(3) / 255, 0.02)
    for depth in (2, 4, 6, 10, 12, 14):
        values = numbers(1, (1 << depth) - 1, np.uint16)[..., 0]
        data = tiff_of_bits(values, depth)
        yield f"grey{depth}.tif", data, shows(values[..., None] / ((1 << depth) - 1))


def tiff_of_bits(values: Array, depth: int, **changed: int) -> bytes:
    """A little-endian TIFF of grey in one strip, `depth` bits a pixel, rows filled up to bytes; tags may be changed."""
    body = b"".join(packed_bits(row, depth) for row in values)
    height, width = values.shape
    tags = {256: width, 257: height, 258: depth, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(body)}
    tags |= {int(tag.removeprefix("tag")): value for tag, value in changed.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)


def packed_bits(row: Array, depth: int) -> bytes:
    bits = (row.astype(np.int64).reshape(-1, 1) >> np.arange(depth)[::-1]) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()


def tiff_refused() -> Iterator[tuple[str, bytes, Judge]]:
    for kind in ("i1", "i2", "i4", "u4"):
        values = numbers(1, 100, kind)[..., 0]
        data = by_tifffile(values, photometric="minisblack")
        yield f"{kind}.tif", data, refused("value_range: [0, 100]")
        yield f"{kind}_scaled.tif", data, shows(values[..., None] / 100, value_range=(0, 100))
    yield "u8.tif", by_tifffile(numbers(1, 100, "u8")[..., 0], photometric="minisblack"), refused("")
    yield "complex.tif", by_tifffile(numbers(1, 9, np.complex64)[..., 0], photometric="minisblack"), refused("complex")
    floats = numbers(1, 255, np.float32)
    data = by_tifffile(floats[..., 0], photometric="minisblack")
    yield "float255.tif", data, shows(floats / 255, value_range=(0, 255))
    yield "float255_narrow.tif", data, refused("Widen it", value_range=(0, 200))
    floats[3, 3] = np.nan
    yield "nan.tif", by_tifffile(floats[..., 0], photometric="minisblack"), refused("not finite (NaN or infinity) in 1")
    floats[3, 3] = -9999
    tags = [(42113, "s", 0, "-9999", True)]
    yield "nodata.tif", by_tifffile(floats[..., 0], photometric="minisblack", extratags=tags), refused("no data")
    cfa = by_tifffile(numbers(1, 255, np.uint8)[..., 0], photometric="cfa")
    yield "cfa.tif", cfa, refused("CFA")
    grey = numbers(1, 255, np.uint8)[..., 0]
    yield "samples.tif", tiff_of_bits(grey, 8, tag277=60000), refused("60000 samples")
    yield "unknown_colours.tif", tiff_of_bits(grey, 8, tag262=77), refused("colours as 77")
    yield "unknown_compression.tif", tiff_of_bits(grey, 8, tag259=31337), refused("COMPRESSION")
    yield "no_width.tif", tiff_of_bits(grey, 8, tag256=0), refused(f"0x{HEIGHT} pixels")
    yield "bomb.tif", tiff_of_bits(grey, 8, tag256=99999, tag257=99999), refused("too large to open safely")
    yield "tile_bomb.tif", tiff_of_bits(grey, 8, tag322=1 << 30, tag323=1 << 30), refused("")
    circle = bytearray(tiff_of_bits(grey, 8))
    circle[-4:] = circle[4:8]
    yield "circle.tif", bytes(circle), refused("go round in a circle")
    for compression, share in itertools.product((None, "zlib"), (0.5, 0.95)):
        values = numbers(3, 255, np.uint8)
        data = by_tifffile(values, photometric="rgb", compression=compression, rowsperstrip=4)
        yield f"cut{int(share * 100)}_{compression}.tif", data[: int(share * len(data))], refused("cut short")


def exr() -> Iterator[tuple[str, bytes, Judge]]:
    import OpenEXR

    def written(channels: dict[str, Array], **header: Any) -> bytes:
        path = Path(folder.name) / "a.exr"
        OpenEXR.File({"type": OpenEXR.scanlineimage, **header}, channels).write(str(path))
        return path.read_bytes()

    import tempfile

    folder = tempfile.TemporaryDirectory()
    kinds = ("NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
    for compression, kind in itertools.product(kinds, (np.float16, np.float32)):
        values = smooth(4).astype(np.float64) / 255
        values[..., 3] = 0.5 + values[..., 3] / 2
        straight = values.copy()
        values[..., :3] *= values[..., 3:]
        for names in ("RGB", "RGBA", "Y"):
            wanted = {"RGB": values[..., :3], "RGBA": straight, "Y": values[..., :1]}[names]
            planes = {name: values[..., "RGBAY".index(name) % 4].astype(kind) for name in names}
            data = written(planes, compression=getattr(OpenEXR, f"{compression}_COMPRESSION"))
            lossy = compression.startswith(("B44", "DWA"))
            close = 0.04 if lossy else 2e-3 if kind is np.float16 else 1e-4 if compression == "PXR24" else 1e-6
            yield f"{names}_{np.dtype(kind).name}_{compression}.exr", data, shows(wanted, close)
    grey = (smooth(1)[..., 0] / 255).astype(np.float32)
    one = np.ones_like(grey)
    colour = np.stack([grey, grey, grey], axis=-1)
    yield "grey_alpha.exr", written({"Y": grey, "A": one}), shows(np.stack([grey, one], axis=-1))
    data = written({"R": grey, "G": grey, "B": grey, "Z": grey * 9})
    yield "depth_beside.exr", data, shows(colour, note="not read: Z")
    data = written({f"beauty.{name}": grey for name in "RGB"})
    yield "layer.exr", data, shows(colour, note='layer "beauty"')
    yield "depth.exr", written({"Z": grey}), refused("no channels that make an image")
    whole = {name: (grey * 9).astype(np.uint32) for name in "RGB"}
    yield "integers.exr", written(whole), refused("integers")
    mixed = {"R": grey, "G": grey.astype(np.float16), "B": grey}
    yield "mixed.exr", written(mixed), shows(colour, 1e-3)
    frame = {"dataWindow": window(2, 3, WIDTH + 1, HEIGHT + 2), "displayWindow": window(0, 0, WIDTH + 9, HEIGHT + 6)}
    padded = np.pad(colour, ((3, 4), (2, 8), (0, 0)))
    yield "window.exr", written(dict.fromkeys("RGB", grey), **frame), shows(padded, note="dataWindow")
    frame = {"dataWindow": window(-2, -3, WIDTH - 3, HEIGHT - 4), "displayWindow": window(0, 0, 9, 7)}
    yield "overscan.exr", written(dict.fromkeys("RGB", grey), **frame), shows(colour[3:11, 2:12], note="dataWindow")
    primaries = (0.7, 0.3, 0.2, 0.7, 0.1, 0.05, 0.31, 0.33)
    data = written(dict.fromkeys("RGB", grey), chromaticities=primaries)
    yield "primaries.exr", data, shows(colour, note="primaries")
    big = written({name: np.tile(grey, (5, 1)) for name in "RGB"})
    for share in (0.4, 0.97):
        yield f"cut{int(share * 100)}.exr", big[: int(share * len(big))], refused("cut short")
    folder.cleanup()


def window(left: int, top: int, right: int, bottom: int) -> Any:
    return np.array([left, top], np.int32), np.array([right, bottom], np.int32)


def hdr() -> Iterator[tuple[str, bytes, Judge]]:
    def head(height: int, width: int, more: str = "") -> bytes:
        return f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n{more}\n-Y {height} +X {width}\n".encode()

    pixels = numbers(4, 255, np.uint8)
    pixels[..., 3] = 120 + pixels[..., 3] % 10
    pixels[..., 0] |= 128  # no pixel looks like the mark of a run
    wanted = pixels[..., :3] * 2.0 ** (pixels[..., 3:].astype(float) - 136)
    rows = b""
    for row in pixels:
        rows += bytes([2, 2, 0, WIDTH]) + b"".join(bytes([WIDTH]) + row[:, i].tobytes() for i in range(4))
    yield "flat.hdr", head(HEIGHT, WIDTH) + pixels.tobytes(), shows(wanted)
    yield "runs.hdr", head(HEIGHT, WIDTH) + rows, shows(wanted)
    yield "exposed.hdr", head(HEIGHT, WIDTH, "EXPOSURE=2\n") + rows, shows(wanted, note="EXPOSURE")
    yield "xyz.hdr", (head(HEIGHT, WIDTH) + rows).replace(b"rgbe", b"xyze"), refused("XYZ")
    yield "up.hdr", (head(HEIGHT, WIDTH) + rows).replace(b"-Y", b"+Y"), refused("order")
    for name, body in (("flat", pixels.tobytes()), ("runs", rows)):
        for cut in (5, 300):
            yield f"{name}_cut{cut}.hdr", (head(HEIGHT, WIDTH) + body)[:-cut], refused("")


def pnm() -> Iterator[tuple[str, bytes, Judge]]:
    for highest, (kind, channels) in itertools.product((1, 100, 255, 1023, 65535), ((5, 1), (6, 3))):
        values = numbers(channels, highest, ">u2" if highest > 255 else "u1")
        wanted = values.astype(float) / highest
        binary = f"P{kind}\n# a comment\n{WIDTH} {HEIGHT}\n{highest}\n".encode() + values.tobytes()
        yield f"{channels}_{highest}.pnm", binary, shows(wanted)
        yield f"{channels}_{highest}_cut.pnm", binary[:-3], refused("cut short")
        text = " ".join(map(str, values.reshape(-1)))
        yield (
            f"{channels}_{highest}_text.pnm",
            f"P{kind - 3} {WIDTH} {HEIGHT} {highest}\n{text}\n".encode(),
            shows(wanted),
        )
        for alpha in (False, True):
            layers = channels + alpha
            values = numbers(layers, highest, ">u2" if highest > 255 else "u1")
            kinds = f"{'GRAYSCALE' if channels == 1 else 'RGB'}{'_ALPHA' if alpha else ''}"
            lines = f"P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH {layers}\nMAXVAL {highest}\nTUPLTYPE {kinds}\nENDHDR\n"
            yield f"{layers}_{highest}.pam", lines.encode() + values.tobytes(), shows(values / highest)
    bits = numbers(1, 1, np.uint8)
    rows = np.packbits(bits[..., 0], axis=1).tobytes()
    yield "bits.pbm", f"P4 {WIDTH} {HEIGHT}\n".encode() + rows, shows(1.0 - bits)
    dense = "\n".join("".join(map(str, row)) for row in bits[..., 0])
    yield "bits_text.pbm", f"P1\n{WIDTH} {HEIGHT}\n{dense}\n".encode(), shows(1.0 - bits)
    one = f"P5 {WIDTH} {HEIGHT} 255\n".encode() + numbers(1, 255, np.uint8).tobytes()
    yield "two.pgm", one + one, shows(numbers(1, 255, np.uint8) / 255, note="several")
    lines = f"P7\r\nWIDTH {WIDTH}\r\nHEIGHT {HEIGHT}\r\nDEPTH 1\r\nMAXVAL 255\r\nENDHDR\r\n"
    yield "dos.pam", lines.encode() + numbers(1, 255, np.uint8).tobytes(), shows(numbers(1, 255, np.uint8) / 255)
    values = numbers(3, 255, np.uint8)
    yield "dos.ppm", f"P6\r\n{WIDTH} {HEIGHT}\r\n255\r\n".encode() + values.tobytes(), shows(values / 255)
    yield "negative.ppm", b"P3 1 1 255\n-1 2 3\n", refused("only numbers belong")
    yield "no_number.pgm", b"P5 x 4 255\n" + bytes(99), refused("where a number belongs")
    yield "too_deep.ppm", b"P6 3 3 70000\n" + bytes(99), refused("1 to 65535")
    over = f"P5 {WIDTH} {HEIGHT} 100\n".encode() + numbers(1, 255, np.uint8).tobytes()
    yield "over.pgm", over, refused("end at 100")


def pfm() -> Iterator[tuple[str, bytes, Judge]]:
    for (kind, channels), (scale, order) in itertools.product(
        (("Pf", 1), ("PF", 3), ("PF4", 4)), ((-1, "<"), (1, ">"), (-2, "<"))
    ):
        values = (numbers(channels, 255, np.uint8) / 510).astype(np.float32)
        data = f"{kind}\n{WIDTH} {HEIGHT}\n{scale:.1f}\n".encode() + values[::-1].astype(f"{order}f4").tobytes()
        judge = shows(values.astype(float) * abs(scale), note="multiplied" if abs(scale) != 1 else "")
        yield f"{channels}_{'little' if order == '<' else 'big'}_{abs(scale)}.pfm", data, judge
        yield f"{channels}_{order == '<'}_{abs(scale)}_cut.pfm", data[:-9], refused("cut short")


def through_pillow() -> Iterator[tuple[str, bytes, Judge]]:
    grey, colour, clear = (numbers(channels, 255, np.uint8) for channels in (1, 3, 4))
    for kind, values, options in (
        ("BMP", grey, {}), ("BMP", colour, {}), ("PCX", grey, {}), ("PCX", colour, {}), ("TGA", grey, {}),
        ("TGA", colour, {}), ("TGA", clear, {}), ("TGA", clear, {"compression": "tga_rle"}),
        ("TGA", colour, {"orientation": 1}), ("WEBP", colour, {"lossless": True}),
        ("WEBP", clear, {"lossless": True, "exact": True}), ("JPEG2000", grey, {"irreversible": False}),
        ("JPEG2000", colour, {"irreversible": False}), ("JPEG2000", clear, {"irreversible": False}),
    ):  # fmt: skip
        end = {"JPEG2000": "jp2"}.get(kind, kind.lower())
        name = f"{values.shape[2]}_{'_'.join(map(str, options.values())) or 'plain'}.{end}"
        data = by_pillow(values, kind, **options)
        yield name, data, shows(values / 255)
        yield f"cut_{name}", data[: len(data) // 2], refused("")
    yield "rgba.bmp", by_pillow(clear, "BMP"), shows(clear[..., :3] / 255, note="fourth byte")
    five = numbers(3, 31, np.uint16)
    words = (five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]).astype("<u2")
    head = struct.pack("<BBBHHBHHHHB", 0, 0, 2, 0, 0, 0, 0, 0, WIDTH, HEIGHT, 16)
    yield "five_bits.tga", head + b"\x20" + words.tobytes(), shows(five / 31, 0.004)
    yield "one_bit_alpha.tga", head + b"\x21" + words.tobytes(), shows(five / 31, 0.004, note="single bit")
    for right_to_left, top in itertools.product((0, 0x10), (0, 0x20)):
        head = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, WIDTH, HEIGHT, 24, right_to_left | top)
        placed = colour[:: 1 if top else -1, :: -1 if right_to_left else 1, ::-1]
        yield f"origin_{right_to_left | top}.tga", head + placed.tobytes(), shows(colour / 255)
    bits = numbers(1, 1, np.uint8)
    yield "bit.bmp", by_pillow(bits.astype(bool), "BMP"), shows(bits.astype(float))
    yield "bit.pcx", by_pillow(bits.astype(bool), "PCX"), shows(bits.astype(float))
    four = numbers(1, 3, np.uint8)[..., 0]
    image = Image.fromarray(four, mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 255, 0, 128])
    table = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [255, 0, 128]]) / 255
    for kind in ("GIF", "BMP", "PCX", "TGA"):
        file = io.BytesIO()
        image.save(file, format=kind)
        yield f"palette.{kind.lower()}", file.getvalue(), shows(table[four])
    file = io.BytesIO()
    image.save(file, format="GIF", transparency=3)
    wanted = np.concatenate([table[four], (four != 3)[..., None]], axis=-1)
    yield "clear.gif", file.getvalue(), shows(wanted)
    frames = [Image.fromarray(np.full((HEIGHT, WIDTH), level, np.uint8)) for level in (250, 5)]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True})):
        file = io.BytesIO()
        frames[0].save(file, format=kind, save_all=True, append_images=frames[1:], **options)
        wanted = np.full((HEIGHT, WIDTH, 3), 250 / 255)
        yield f"animated.{kind.lower()}", file.getvalue(), shows(wanted, note="2 images")
    data = by_pillow(smooth(3), "AVIF", quality=100, subsampling="4:4:4")
    yield "colour.avif", data, shows(smooth(3) / 255, 0.02)
    data = by_pillow(smooth(3), "AVIF", quality=100, subsampling="4:4:4", exif=exif(6))
    yield "turn6.avif", data, shows(upright(smooth(3) / 255, 6), 0.02)
    data = by_pillow(colour, "WEBP", lossless=True, exif=exif(6))
    yield "turn6.webp", data, shows(upright(colour / 255, 6), 1e-7)
    bare = bytearray(by_pillow(clear, "TGA"))
    bare[17] &= 0xF0
    yield "no_alpha_bits.tga", bytes(bare), shows(clear[..., :3] / 255, note="is not transparency")
    for kind in (0, 3, 4):
        times = clear.copy()
        times[..., 3] |= 128
        times[..., :3] = np.minimum(times[..., :3], times[..., 3:])
        divided = np.concatenate([times[..., :3] / times[..., 3:], times[..., 3:] / 255], axis=-1)
        wanted = {0: times[..., :3] / 255, 3: times / 255, 4: divided}[kind]
        judge = shows(wanted, 0.51 / 255 if kind == 4 else 0, note="is not transparency" if kind == 0 else "")
        yield f"alpha_of_kind_{kind}.tga", with_extension(by_pillow(times, "TGA"), kind), judge


def with_extension(file: bytes, kind: int) -> bytes:
    """A TGA of the second version, which says of which kind its alpha is."""
    body = file.removesuffix(bytes(8) + b"TRUEVISION-XFILE.\0")
    extension = struct.pack("<H", 495) + bytes(492) + bytes([kind])
    return body + extension + struct.pack("<II", len(body), 0) + b"TRUEVISION-XFILE.\0"


def deep_jpeg2000() -> Iterator[tuple[str, bytes, Judge]]:
    import imagecodecs

    for channels, bits in itertools.product((1, 3), (10, 12, 16)):
        values = numbers(channels, (1 << bits) - 1, np.uint16)
        data = imagecodecs.jpeg2k_encode(values.squeeze(), bitspersample=bits, level=0, reversible=True)
        yield f"{channels}_{bits}.jp2", bytes(data), shows(values / ((1 << bits) - 1))


def broken() -> Iterator[tuple[str, bytes, Judge]]:
    values = numbers(3, 65535, np.uint16)
    for depth in (8, 16):
        data = png_bytes(values >> (16 - depth), depth, 2)
        for share in (0.3, 0.9):
            yield f"{depth}_cut{int(share * 100)}.png", data[: int(share * len(data))], refused("cut short")
        wrong = bytearray(data)
        wrong[80] ^= 1
        yield f"{depth}_damaged.png", bytes(wrong), refused("checksum")
    yield "text.png", b"not an image at all", refused("cannot be read as an image")
    yield "empty.png", b"", refused("is empty")
    jpeg_file = by_pillow(smooth(3), "JPEG", quality=98, subsampling=0)
    yield "jpeg_named.png", jpeg_file, shows(smooth(3) / 255, 0.02)
    yield "png_named.jpg", png_bytes(values, 16, 2), shows(values / 65535)
    yield "png_named.txt", png_bytes(values, 16, 2), shows(values / 65535)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 99999, 99999, 16, 2, 0, 0, 0))
    yield "bomb.png", bomb, refused("too large to open safely")
    yield "bomb.pgm", b"P5 99999 99999 255\n" + bytes(99), refused("too large to open safely")
    yield "bomb.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 99999 +X 99999\n", refused("too large to open safely")
