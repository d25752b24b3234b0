"""Every image file is read as it was written, or refused with its reason."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from fieldengine.errors import DataError
from fieldengine.export.image import IMAGES, MAX_BLOCKS, MAX_SIDES, VIDEOS
from fieldengine.files.image import FORMATS, TGA, read_image
from fieldengine.files.image_formats.stored import MAX_PIXELS, turned, turned_back

TOOLS = Path(__file__).resolve().parents[2] / "tools"
Array = NDArray[Any]


def noise(*shape: int, kind: Any = np.uint8) -> Array:
    return np.random.default_rng(5).integers(0, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


# ------------------------------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_back_undoes_turning(orientation: int):
    pixels = noise(5, 7, 3)
    assert np.array_equal(turned_back(turned(pixels, orientation), orientation), pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
def test_stored_pixels_are_to_be_had_without_turning(orientation: int, suffix: str, tmp_path: Path):
    pixels = noise(6, 9, 3)
    path = tmp_path / f"a{suffix}"
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    PillowImage.fromarray(pixels).save(path, exif=exif, lossless=True)
    assert np.array_equal(read_image(path, turn=False).values, pixels)
    assert read_image(path).values.shape == ((9, 6, 3) if orientation > 4 else (6, 9, 3))


# ------------------------------------------------------------------------------------------------------ second readers


def without(package: str, path: Path) -> str:
    """What is printed of a file where a package is not installed: its values, or why it is refused."""
    script = (
        "import sys; from pathlib import Path\n"
        f"sys.modules[{package!r}] = None\n"
        "from fieldengine.files.image import read_image\n"
        "from fieldengine.errors import DataError\n"
        "try: print(read_image(Path(sys.argv[1])).values.tolist())\n"
        "except DataError as reason: print(reason)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_pillow_reads_lzw_where_imagecodecs_is_not_installed(tmp_path: Path):
    pixels = noise(6, 9, 3)
    path = tmp_path / "a.tif"
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.fromarray(pixels).save(path, compression="tiff_lzw", exif=exif)
    assert without("imagecodecs", path) == str(np.rot90(pixels, 3).tolist())


def test_deep_lzw_names_the_extra_where_imagecodecs_is_not_installed(tmp_path: Path):
    pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(6, 9, 3, kind=np.uint16), photometric="rgb", compression="lzw")
    wanted = "holds unsigned integers of 16 bits, packed by LZW, which needs imagecodecs; install fieldengine[images]"
    assert without("imagecodecs", path) == f"{path}: {wanted}"


# --------------------------------------------------------------------------------------------------------- refusals


def test_a_file_like_none_of_the_formats_is_refused_with_their_names(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"8BPS and so on")
    with pytest.raises(DataError, match=r"cannot be read as an image: it begins like none of PNG, JPEG, TIFF"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", [known.name for known in FORMATS])
def test_a_head_without_anything_behind_it_is_refused(name: str, tmp_path: Path):
    heads = {
        "PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "TIFF": b"II*\0", "OpenEXR": b"\x76\x2f\x31\x01",
        "Radiance HDR": b"#?RADIANCE\n", "PBM, PGM, PPM, PAM, PFM": b"P6 ", "JPEG 2000": b"\xff\x4f\xff\x51",
        "AVIF": b"\0\0\0\x20ftypavif", "WebP": b"RIFF\0\0\0\0WEBP", "GIF": b"GIF89a", "BMP": b"BM",
        "PCX": b"\x0a\x05\x01",
    }  # fmt: skip
    (tmp_path / "a").write_bytes(heads[name])
    with pytest.raises(DataError, match="cannot be read as an image"):
        read_image(tmp_path / "a")


def test_alpha_of_floats_beyond_one_is_refused(tmp_path: Path):
    values = np.full((4, 5, 4), 0.5, np.float32)
    values[0, 0, 3] = 255
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(DataError, match=r"alpha from 0\.5 to 255"):
        read_image(tmp_path / "a.tif")


# ------------------------------------------------------------------------------------------------------------- notes


def written(path: Path, write: Callable[[Path], object]) -> tuple[str, ...]:
    write(path)
    return read_image(path).notes


def test_a_plain_photograph_has_no_notes(tmp_path: Path):
    assert written(tmp_path / "a.jpg", PillowImage.fromarray(noise(8, 9, 3)).save) == ()


def test_a_fourth_sample_that_is_not_called_alpha_is_left_out_and_said(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(4, 5, 4), photometric="rgb", extrasamples=["unspecified"])
    file = read_image(path)
    assert file.values.shape == (4, 5, 3)
    assert file.notes == ("holds 1 sample beside its colours that it does not call transparency; it is left out",)


def test_colour_without_opacity_is_said(tmp_path: Path):
    values = np.full((4, 5, 4), 0.5, np.float32)
    values[0, :2, 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["assocalpha"])
    file = read_image(tmp_path / "a.tif")
    assert file.notes == ("holds colour without opacity in 2 pixels, which become black",)
    assert np.array_equal(file.values[0, :2], np.zeros((2, 4)))
    assert np.array_equal(file.values[1, 0], [1, 1, 1, 0.5])


# --------------------------------------------------------------------------------------------------------------- docs


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table behind a heading, without its head."""
    lines = page.partition(f"{heading}\n")[2].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    table = list(itertools.takewhile(lambda line: line.startswith("|"), lines[first + 1 :]))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


PAGE = (TOOLS.parent / "docs" / "files.md").read_text(encoding="utf-8")


def test_the_table_of_the_page_has_every_format_in_order():
    assert [row[0] for row in rows(PAGE, "## Images")] == [known.name for known in (*FORMATS, TGA)]


def test_the_page_names_the_limit_of_pixels():
    assert f"{MAX_PIXELS:,}" in PAGE


def test_the_table_of_writers_has_every_ending_and_its_limit():
    found = {}
    for endings, _, side, _ in rows(PAGE, "### Writing"):
        number = re.match(r"[\d,]+", side)
        for ending in endings.split(", "):
            found[ending] = int(number[0].replace(",", "")) if number else None
    assert found == {ending: MAX_SIDES.get(ending) for ending in (*IMAGES, *VIDEOS)}
    assert f"{MAX_BLOCKS * 256:,}" in PAGE
