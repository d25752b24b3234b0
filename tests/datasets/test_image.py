"""Images of every kind become the values they hold; transparent borders stay clean."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor

from fieldengine.datasets.image import Image, ImageDataset
from fieldengine.datasets.images import color, downscaled, over, premultiplied
from fieldengine.errors import DataError
from fieldengine.files.image import read_image
from fieldengine.types import RunContext

Build = Callable[..., ImageDataset]


@pytest.fixture
def build(context: RunContext) -> Build:
    return lambda path, **options: Image(path, **options).build(context=context)


def noise(*shape: int, high: int = 256, kind: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(3).integers(0, high, shape).astype(kind)


def write_png(path: Path, values: NDArray[Any], colour_type: int) -> Path:
    """A PNG of the plainest sort: depth and colour type as said, no filter, one piece of data."""
    height, width = values.shape[:2]
    rows = values.astype(values.dtype.newbyteorder(">")).reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8 * values.dtype.itemsize, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


def image_of(dataset: ImageDataset) -> Tensor:
    return dataset.views("test")[0].target.view(*dataset.grid.shape, -1)


# ----------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (6, 4)], ids=["grey", "RGB", "RGBA"])
def test_every_value_of_a_png_is_read_exactly(colour_type: int, channels: int, kind: Any, tmp_path: Path):
    values = noise(5, 7, channels, high=np.iinfo(kind).max + 1, kind=kind)
    found = read_image(write_png(tmp_path / "a.png", values, colour_type)).values
    assert found.dtype == kind
    assert np.array_equal(found, values)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_grey_with_transparency_keeps_both_exactly(kind: Any, tmp_path: Path):
    values = noise(5, 7, 2, high=np.iinfo(kind).max + 1, kind=kind)
    found = read_image(write_png(tmp_path / "a.png", values, 4)).values
    assert found.dtype == kind
    assert found.shape[2] in (2, 4)
    assert np.array_equal(found[..., [0, -1]], values)


def test_sixteen_bit_colour_written_by_another_program_is_read_exactly(tmp_path: Path, build: Build):
    values, path = noise(8, 10, 3, high=65536, kind=np.uint16), tmp_path / "deep.png"
    iio.imwrite(
        path, values, plugin="pyav", codec="png", in_pixel_format="rgb48le", out_pixel_format="rgb48be", is_batch=False
    )
    assert np.array_equal(read_image(path).values, values)
    torch.testing.assert_close(image_of(build(path)), torch.from_numpy(values.astype(np.float32) / 65535))


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_a_photograph_taken_sideways_is_turned_upright(tmp_path: Path, orientation: int, turn: int):
    pixels = noise(6, 9, 3)
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    PillowImage.fromarray(pixels).save(tmp_path / "sideways.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "sideways.png").values, np.rot90(pixels, turn))


def test_a_palette_becomes_its_colours(tmp_path: Path):
    image = PillowImage.new("P", (3, 2))
    image.putpalette([255, 0, 0, 0, 255, 0, 9, 8, 7])
    image.putdata([0, 1, 2, 2, 1, 0])
    image.save(tmp_path / "a.png")
    red, green, dark = [255, 0, 0], [0, 255, 0], [9, 8, 7]
    assert read_image(tmp_path / "a.png").values.tolist() == [[red, green, dark], [dark, green, red]]


def test_a_transparent_entry_of_a_palette_stays_transparent(tmp_path: Path):
    image = PillowImage.new("P", (2, 2))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1, 1, 0])
    image.save(tmp_path / "a.png", transparency=1)
    found = read_image(tmp_path / "a.png").values
    assert found.shape == (2, 2, 4)
    assert found[..., 3].tolist() == [[255, 0], [0, 255]]


def test_a_mask_of_one_bit_becomes_black_and_white(tmp_path: Path):
    mask = noise(4, 5, high=2).astype(bool)
    PillowImage.fromarray(mask).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png").values
    assert found.dtype == np.uint8
    assert np.array_equal(found[..., 0], np.where(mask, 255, 0))


def test_a_photograph_in_printers_colours_comes_out_in_its_own(tmp_path: Path):
    plain = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    PillowImage.fromarray(plain).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    found = read_image(tmp_path / "a.jpg").values
    assert found.shape == plain.shape
    assert np.abs(found.astype(int) - plain).max() <= 8


def test_floats_are_fitted_as_they_are(tmp_path: Path, build: Build):
    values = np.array([[0.0, 0.25], [1.0, 1 / 3]], dtype=np.float32)
    iio.imwrite(tmp_path / "a.tiff", values)
    assert np.array_equal(image_of(build(tmp_path / "a.tiff"))[..., 0].numpy(), values)


def test_floats_beyond_one_are_refused_with_the_key_that_scales_them(tmp_path: Path, build: Build):
    values = np.array([[0.0, 0.25], [255.0, 2.0]], dtype=np.float32)
    iio.imwrite(tmp_path / "a.tiff", values)
    with pytest.raises(DataError, match=r"values from 0 to 255; 0 to 1 .* `dataset.value_range: \[0, 255\]`"):
        build(tmp_path / "a.tiff")
    found = image_of(build(tmp_path / "a.tiff", value_range=(0.0, 255.0)))[..., 0]
    assert np.array_equal(found.numpy(), (values.astype(np.float64) / 255).astype(np.float32))


def test_values_beyond_a_given_range_are_refused(tmp_path: Path, build: Build):
    iio.imwrite(tmp_path / "a.tiff", np.array([[0, 4095], [7, 65]], dtype=np.uint16))
    with pytest.raises(DataError, match=r"from 0 to 4095, beyond `dataset.value_range: \[0, 1000\]`"):
        build(tmp_path / "a.tiff", value_range=(0.0, 1000.0))
    found = image_of(build(tmp_path / "a.tiff", value_range=(0.0, 4095.0)))[..., 0]
    assert found.tolist() == torch.tensor([[0.0, 1.0], [7 / 4095, 65 / 4095]]).tolist()


def test_a_range_scales_colours_and_leaves_transparency(tmp_path: Path, build: Build):
    values = np.zeros((2, 2, 4), np.uint8)
    values[:] = (0, 50, 100, 51)
    iio.imwrite(tmp_path / "a.png", values)
    found = image_of(build(tmp_path / "a.png", value_range=(0.0, 100.0)))
    torch.testing.assert_close(found[0, 0], torch.tensor([0.0, 0.5, 1.0, 0.2]))


@pytest.mark.parametrize("value_range", [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused(value_range: tuple[float, float]):
    with pytest.raises(ValueError, match="write two numbers, the lower one first"):
        Image(Path("a.png"), value_range=value_range)


def test_the_first_image_of_an_animation_is_taken(tmp_path: Path):
    frames = np.stack([np.full((4, 6, 3), 250, np.uint8), np.full((4, 6, 3), 5, np.uint8)])
    iio.imwrite(tmp_path / "a.gif", frames)
    assert read_image(tmp_path / "a.gif").values.min() >= 245


# ------------------------------------------------------------------------------------------------- what is made of it


def test_items_are_pixels_row_by_row_with_their_value_and_place(photo: Path, build: Build):
    dataset = build(photo)
    wanted = torch.from_numpy(iio.imread(photo)).float() / 255
    assert dataset.n_items == 16 * 24
    batch = dataset.batch(torch.tensor([0, 23, 24, 16 * 24 - 1]), torch.Generator())
    assert torch.equal(batch.targets, torch.stack([wanted[0, 0], wanted[0, 23], wanted[1, 0], wanted[15, 23]]))
    places = torch.tensor([[-1, -1], [-1, 1], [-1 + 2 / 15, -1], [1, 1]])
    torch.testing.assert_close(batch.items.positions, places)


def test_every_split_is_the_image_itself(photo: Path, build: Build):
    dataset = build(photo)
    for split in ("train", "val", "test"):
        (view,) = dataset.views(split)
        indices = torch.arange(dataset.n_items)
        assert torch.equal(view.target, dataset.batch(indices, torch.Generator()).targets)
        assert view.grid.shape == (16, 24)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_field_gets_as_many_outputs_as_the_image_has_channels(channels: int, tmp_path: Path, build: Build):
    iio.imwrite(tmp_path / "a.png", noise(4, 6, channels).squeeze())
    assert build(tmp_path / "a.png").domain.out_dim == channels


def test_downscale_takes_exact_means_of_blocks_and_drops_what_is_over(tmp_path: Path, build: Build):
    values = noise(7, 11, 3)
    iio.imwrite(tmp_path / "a.png", values)
    found = image_of(build(tmp_path / "a.png", downscale=3))
    wanted = np.stack(
        [[values[3 * i : 3 * i + 3, 3 * j : 3 * j + 3].mean((0, 1)) / 255 for j in range(3)] for i in range(2)]
    )
    torch.testing.assert_close(found, torch.from_numpy(wanted).float())


def test_downscale_weighs_colours_by_their_opacity(tmp_path: Path, build: Build):
    values = np.zeros((4, 4, 4), np.uint8)
    values[:, ::2] = (200, 100, 50, 255)
    values[:, 1::2] = (0, 255, 0, 0)  # a colour that nobody sees
    iio.imwrite(tmp_path / "a.png", values)
    found = image_of(build(tmp_path / "a.png", downscale=2))
    torch.testing.assert_close(found, torch.tensor([200 / 255, 100 / 255, 50 / 255, 0.5]).expand(2, 2, 4))


@pytest.mark.parametrize("downscale", [1, 2])
@pytest.mark.parametrize("background", ["white", "black", "grey", (0.25, 0.5, 0.75)])
def test_a_background_shows_where_the_image_is_transparent_and_nowhere_else(
    background: Any, downscale: int, tmp_path: Path, build: Build
):
    values = np.zeros((8, 8, 4), np.uint8)
    values[:4] = (200, 100, 50, 255)
    values[4:, :4] = (200, 100, 50, 51)
    values[4:, 4:] = (200, 100, 50, 0)
    iio.imwrite(tmp_path / "a.png", values)
    dataset = build(tmp_path / "a.png", background=background, downscale=downscale)
    found, behind = image_of(dataset), color(background)
    own = torch.tensor([200.0, 100.0, 50.0]) / 255
    half = len(found) // 2
    torch.testing.assert_close(found[:half], own.expand_as(found[:half]))
    torch.testing.assert_close(found[half:, :half], (0.2 * own + 0.8 * behind).expand(half, half, 3))
    torch.testing.assert_close(found[half:, half:], behind.expand(half, half, 3))
    assert dataset.domain.out_dim == 3


def test_a_background_shows_behind_transparent_grey_as_well(tmp_path: Path, build: Build):
    values = np.zeros((4, 4, 2), np.uint8)
    values[:2] = (100, 255)
    write_png(tmp_path / "a.png", values, 4)
    found = image_of(build(tmp_path / "a.png", background="white"))
    assert found.shape[2] in (1, 3)
    torch.testing.assert_close(found[:2], torch.full_like(found[:2], 100 / 255))
    torch.testing.assert_close(found[2:], torch.ones_like(found[2:]))


def test_downscale_weighs_grey_by_its_opacity_as_well(tmp_path: Path, build: Build):
    values = np.zeros((4, 4, 2), np.uint8)
    values[:, ::2] = (100, 255)
    values[:, 1::2] = (255, 0)
    write_png(tmp_path / "a.png", values, 4)
    found = image_of(build(tmp_path / "a.png", downscale=2))
    torch.testing.assert_close(found[..., 0], torch.full((2, 2), 100 / 255))
    torch.testing.assert_close(found[..., -1], torch.full((2, 2), 0.5))


def test_without_a_background_transparency_is_a_fourth_channel_as_it_was_written(tmp_path: Path, build: Build):
    values = noise(4, 6, 4)
    iio.imwrite(tmp_path / "a.png", values)
    torch.testing.assert_close(image_of(build(tmp_path / "a.png")), torch.from_numpy(values).float() / 255)


def test_a_background_leaves_a_image_without_transparency_alone(photo: Path, build: Build):
    assert torch.equal(build(photo, background="black").pixels, build(photo).pixels)


@pytest.mark.parametrize(
    ("grid", "first", "last"),
    [
        ("corners", (-1, -1), (1, 1)),
        ("centres", (-1 + 1 / 16, -1 + 1 / 24), (1 - 1 / 16, 1 - 1 / 24)),
        ("isotropic", (-15 / 23, -1), (15 / 23, 1)),
    ],
)
def test_the_grid_says_where_the_first_and_last_pixel_lie(
    grid: Any, first: tuple[float, float], last: tuple[float, float], photo: Path, build: Build
):
    dataset = build(photo, grid=grid)
    places = dataset.batch(torch.tensor([0, dataset.n_items - 1]), torch.Generator()).items.positions
    torch.testing.assert_close(places, torch.tensor([first, last], dtype=torch.float32))


# ----------------------------------------------------------------------------------------------------- the arithmetic


def test_colour_over_a_background_is_the_mixture_by_opacity():
    straight = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    behind = torch.rand(50, 3, generator=torch.Generator().manual_seed(1))
    alpha = straight[:, 3:]
    torch.testing.assert_close(over(premultiplied(straight), behind), alpha * straight[:, :3] + (1 - alpha) * behind)


def test_downscaling_by_one_changes_nothing_and_twice_by_two_is_once_by_four():
    image = torch.rand(8, 12, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(downscaled(image, 1), image)
    torch.testing.assert_close(downscaled(downscaled(image, 2), 2), downscaled(image, 4))


def test_real_photographs_are_read_as_imageio_reads_them(data: Path, build: Build):
    path = data / "images" / "kodak" / "kodim04.png"
    dataset = build(path)
    assert dataset.grid.shape == (768, 512)
    assert torch.equal((image_of(dataset) * 255).round().byte(), torch.from_numpy(iio.imread(path)))


def test_crop_takes_a_part_before_anything_else(tmp_path: Path, build: Build):
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    iio.imwrite(tmp_path / "a.png", pixels)
    found = image_of(build(tmp_path / "a.png", crop=(2, 1, 4, 3)))
    torch.testing.assert_close(found, torch.from_numpy(pixels[1:4, 2:6].copy()).float() / 255)
    assert image_of(build(tmp_path / "a.png", crop=(0, 0, 8, 6), downscale=2)).shape == (3, 4, 3)


def test_a_crop_beyond_the_image_is_refused(tmp_path: Path, build: Build):
    iio.imwrite(tmp_path / "a.png", np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"is 8x6 pixels; crop asks for 4x3 from \(5, 1\), which leaves it"):
        build(tmp_path / "a.png", crop=(5, 1, 4, 3))


# ------------------------------------------------------------------------------------------------------- what is said


def test_an_ordinary_image_is_read_without_a_word(photo: Path, build: Build):
    assert list(build(photo).notes()) == []


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (np.full((4, 5, 3), 7, np.uint8), "every pixel has the same value"),
        (np.concatenate([noise(4, 5, 3), np.zeros((4, 5, 1), np.uint8)], axis=-1), "is transparent everywhere"),
        (
            noise(4, 5, 1, high=4096, kind=np.uint16),
            "16-bit values end at 3560, so it is dark; `dataset.value_range: [0, 3560]`",
        ),
    ],
    ids=["constant", "transparent", "12 bits in 16"],
)
def test_an_image_that_teaches_little_is_said(values: NDArray[Any], note: str, tmp_path: Path, build: Build):
    write_png(tmp_path / "a.png", values, {1: 0, 3: 2, 4: 6}[values.shape[2]])
    (said,) = build(tmp_path / "a.png").notes()
    assert said.startswith(f"{tmp_path / 'a.png'}: ")
    assert note in said


def test_a_given_range_ends_the_doubt_about_it(tmp_path: Path, build: Build):
    values = noise(4, 5, 1, high=4096, kind=np.uint16)
    assert build(write_png(tmp_path / "a.png", values, 0), value_range=(0.0, 4095.0)).notes() == []
