"""Images and videos as files: what was written is what is read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torch import Tensor

from fieldengine.errors import FieldEngineError, RunError
from fieldengine.export.image import IMAGES, require_fits, to_uint8, write_image, write_video

LOSSLESS = (".png", ".bmp", ".tiff", ".tif")


def image(height: int, width: int, channels: int) -> Tensor:
    """Smooth, so that lossy formats keep it, and different in every channel and corner."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([(0.2 + 0.15 * c) * x + (0.7 - 0.15 * c) * y for c in range(channels)], dim=-1)


def test_values_are_clipped_and_rounded_to_the_nearest_of_256():
    found = to_uint8(torch.tensor([[[-1.0], [0.0], [0.49 / 255], [0.51 / 255], [254.4 / 255], [1.0], [7.0]]]))
    assert found.tolist() == [[0, 0, 0, 1, 254, 255, 255]]


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_lossless_image_comes_back_value_by_value(tmp_path: Path, suffix: str, channels: int):
    values = image(7, 12, channels)
    write_image(tmp_path / f"p{suffix}", values)
    found = iio.imread(tmp_path / f"p{suffix}", plugin="pillow")
    assert found.shape == ((7, 12, 3) if channels == 3 else (7, 12))
    assert np.array_equal(found.reshape(7, 12, channels), (values * 255).round().numpy().astype(np.uint8))


@pytest.mark.parametrize("channels", [2, 4])
def test_png_keeps_transparency(tmp_path: Path, channels: int):
    values = image(7, 12, channels)
    write_image(tmp_path / "p.png", values)
    found = iio.imread(tmp_path / "p.png", plugin="pillow", mode="LA" if channels == 2 else "RGBA")
    assert np.array_equal(found, (values * 255).round().numpy().astype(np.uint8))


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_formats_without_transparency_get_the_colours(tmp_path: Path, suffix: str, channels: int):
    values = image(32, 48, channels)
    write_image(tmp_path / f"p{suffix}", values)
    found = iio.imread(tmp_path / f"p{suffix}").astype(float) / 255
    colours = values[..., :-1] if channels in (2, 4) else values
    assert found.shape == ((32, 48, 3) if channels > 2 else (32, 48))
    np.testing.assert_allclose(found.reshape(colours.shape), colours.numpy(), atol=0.03)


@pytest.mark.parametrize("suffix", IMAGES)
def test_every_ending_that_is_offered_can_be_written_in_capitals_too(tmp_path: Path, suffix: str):
    out = tmp_path / f"p{suffix.upper()}"
    write_image(out, image(16, 24, 3))
    found = iio.imread(out, plugin="pillow").astype(float) / 255
    np.testing.assert_allclose(found, image(16, 24, 3).numpy(), atol=0.08)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [5, 16])
def test_more_channels_than_a_image_has_are_refused_in_words(tmp_path: Path, suffix: str, channels: int):
    with pytest.raises(FieldEngineError, match=f"{channels}"):
        write_image(tmp_path / f"p{suffix}", torch.rand(6, 8, channels))
    assert not list(tmp_path.iterdir())


def test_a_wrong_ending_is_refused_with_those_there_are(tmp_path: Path):
    with pytest.raises(RunError, match=r"an image ends in \.png.*found \.gif"):
        write_image(tmp_path / "p.gif", image(4, 4, 3))
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------------- videos


def frames(n: int, height: int, width: int) -> Iterator[Tensor]:
    """Each frame one grey level brighter on the left than on the right, and brighter than the frame before."""
    for i in range(n):
        frame = torch.full((height, width, 3), 0.1 + 0.6 * i / max(n - 1, 1))
        frame[:, : width // 2] += 0.2
        yield frame


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65)])
def test_a_video_comes_back_frame_by_frame_with_even_sides(tmp_path: Path, height: int, width: int):
    out = tmp_path / "v.mp4"
    assert write_video(out, frames(7, height, width), fps=10) == 7
    found = iio.imread(out, plugin="pyav").astype(float) / 255
    assert found.shape == (7, height + height % 2, width + width % 2, 3)
    for i, frame in enumerate(frames(7, height, width)):
        left, right = found[i, :height, : width // 2 - 2], found[i, :height, width // 2 + 2 : width]
        assert left.mean() == pytest.approx(float(frame[0, 0, 0]), abs=0.03)
        assert right.mean() == pytest.approx(float(frame[0, -1, 0]), abs=0.03)


def test_the_row_and_column_that_make_sides_even_repeat_the_last_ones(tmp_path: Path):
    out = tmp_path / "v.mp4"
    write_video(out, frames(2, 31, 33), fps=10)
    found = iio.imread(out, plugin="pyav").astype(float) / 255
    np.testing.assert_allclose(found[:, 31], found[:, 30], atol=0.05)
    np.testing.assert_allclose(found[:, :, 33], found[:, :, 32], atol=0.05)


@pytest.mark.parametrize("fps", [1, 60])
def test_the_rate_is_the_one_asked_for(tmp_path: Path, fps: int):
    out = tmp_path / "v.mp4"
    write_video(out, frames(4, 16, 16), fps=fps)
    assert iio.immeta(out, plugin="pyav")["fps"] == pytest.approx(fps, rel=1e-3)


def test_one_frame_is_a_video_and_its_ending_may_be_in_capitals(tmp_path: Path):
    assert write_video(tmp_path / "V.MP4", frames(1, 16, 16)) == 1
    assert len(iio.imread(tmp_path / "V.MP4", plugin="pyav")) == 1


def test_frames_are_made_one_at_a_time(tmp_path: Path):
    alive: list[int] = []

    def counted() -> Iterator[Tensor]:
        for i, frame in enumerate(frames(5, 16, 16)):
            alive.append(i)
            yield frame

    assert write_video(tmp_path / "v.mp4", counted()) == 5
    assert alive == list(range(5))


def test_a_frame_that_fails_leaves_the_old_video_and_nothing_else(tmp_path: Path):
    out = tmp_path / "v.mp4"
    out.write_text("old")

    def failing() -> Iterator[Tensor]:
        yield from frames(2, 16, 16)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_video(out, failing())
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_a_video_that_is_no_mp4_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match=r"a video ends in \.mp4; found \.avi"):
        write_video(tmp_path / "v.avi", frames(1, 16, 16))


@pytest.mark.parametrize("colour", [(0, 255, 0), (255, 0, 0), (0, 0, 255), (200, 100, 50)])
def test_colours_are_stored_by_the_matrix_that_the_video_names(tmp_path: Path, colour: tuple[int, int, int]):
    picture = (torch.tensor(colour) / 255).expand(32, 32, 3)
    write_video(tmp_path / "v.mp4", [picture, picture])
    with av.open(str(tmp_path / "v.mp4")) as video:
        frame = next(video.decode(video=0))
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)
        stored = [float(np.frombuffer(bytes(plane), np.uint8)[0]) for plane in frame.planes]
    red, green, blue = (level / 255 for level in colour)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # BT.709, item 3
    wanted = [16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556, 128 + 224 * (red - luma) / 1.5748]
    assert stored == pytest.approx(wanted, abs=1.5)


# ----------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("name", "width", "height", "limit"),
    [
        ("p.jpg", 65501, 4, "a side in .jpg has at most 65500 pixels. Write .png"),
        ("p.WEBP", 4, 16384, "a side in .webp has at most 16383 pixels. Write .png"),
        ("v.mp4", 17000, 2, "a side in .mp4 has at most 16384 pixels. Choose a smaller --size"),
        ("v.mp4", 8192, 4353, "a frame of H.264 has at most 35,651,584. Choose a smaller --size"),
    ],
)
def test_a_picture_that_its_format_does_not_hold_is_refused(name: str, width: int, height: int, limit: str):
    with pytest.raises(RunError) as caught:
        require_fits(Path(name), width, height)
    assert str(caught.value) == f"{name}: {width}x{height} pixels are asked for; {limit}"


@pytest.mark.parametrize("name", ["p.jpg", "p.webp"])
def test_the_longest_side_that_a_format_holds_is_written(name: str, tmp_path: Path):
    longest = {"p.jpg": 65500, "p.webp": 16383}[name]
    write_image(tmp_path / name, torch.rand(2, longest, 3))
    assert iio.improps(tmp_path / name, plugin="pillow").shape[:2] == (2, longest)


@pytest.mark.parametrize(("height", "width"), [(2, 16384), (16384, 1)])
def test_the_longest_side_of_a_video_is_written(height: int, width: int, tmp_path: Path):
    assert write_video(tmp_path / "v.mp4", [torch.zeros(height, width, 3)]) == 1


def test_a_video_that_is_too_large_leaves_nothing(tmp_path: Path):
    with pytest.raises(RunError, match="17000x2"):
        write_video(tmp_path / "v.mp4", [torch.zeros(2, 17000, 3)])
    assert not list(tmp_path.iterdir())


def test_a_video_without_frames_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="at least one frame"):
        write_video(tmp_path / "v.mp4", [])
    assert not list(tmp_path.iterdir())
