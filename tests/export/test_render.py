"""What `render` writes: images of any size, videos along a path, and surfaces as clay."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import fieldengine
from fieldengine.cameras.camera import Camera
from fieldengine.cameras.grid import SignalGrid
from fieldengine.cameras.paths import look_at, orbit, spiral
from fieldengine.cli.app import app
from fieldengine.errors import DataError, FieldEngineError, RunError
from fieldengine.export.render import MAX_PIXELS, render_file, sized
from fieldengine.renderers.direct import DirectRenderer
from fieldengine.renderers.image import render_image
from fieldengine.runs.build import TrainedField
from fieldengine.types import Aabb, Domain

CENTRE = torch.tensor([10.0, 0.0, -5.0])
RADIUS = 2.0
UP = torch.tensor([0.0, 1.0, 0.0])


class Ramp(nn.Module):
    """Red is the row, green the column, on [-1, 1]^2."""

    def values(self, x: Tensor) -> Tensor:
        return torch.stack([0.5 + 0.5 * x[:, 0], 0.5 + 0.5 * x[:, 1], torch.zeros(len(x))], dim=-1)


class Ball(nn.Module):
    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.vector_norm(x - CENTRE, dim=-1) - RADIUS, x[:, :0]

    def values(self, x: Tensor) -> Tensor:
        return self.sdf(x)[0][:, None]


def camera(size: int = 40, eye: tuple[float, float, float] = (10.0, 3.0, 5.0)) -> Camera:
    lens = Camera(pose=(), height=size, width=size, fx=1.6 * size, fy=1.6 * size, cx=0.5 * size, cy=0.5 * size)
    return lens.at(look_at(torch.tensor(eye), CENTRE, UP))


@pytest.fixture
def flat() -> TrainedField:
    """An image of 24 by 16 pixels."""
    domain = Domain(task="image", aabb=Aabb.of([-1, -1], [1, 1]), out_dim=3, grid=SignalGrid.of((16, 24)))
    return TrainedField(Ramp(), DirectRenderer(), domain)


@pytest.fixture
def clay() -> TrainedField:
    """A ball that its renderer, which takes points, cannot show from a camera."""
    domain = Domain(
        task="sdf",
        aabb=Aabb(CENTRE - 2.4, CENTRE + 2.4),
        out_dim=1,
        grid=camera(),
        centre=tuple(CENTRE.tolist()),
        radius=10.0,
        up=(0.0, 1.0, 0.0),
        background=(1.0, 1.0, 1.0),
    )
    return TrainedField(Ball(), DirectRenderer(), domain)


def silhouette(of: Camera) -> Tensor:
    """Which pixels' rays meet the ball: from the distance of each ray to its middle."""
    rays = of.items(torch.arange(of.height * of.width))
    to_centre = CENTRE - rays.origins
    along = (to_centre * rays.viewdirs).sum(dim=-1)
    return ((to_centre.square().sum(dim=-1) - along.square()) < RADIUS**2).view(of.height, of.width)


def covered(image: Any) -> Any:
    """Pixels that are not the white background."""
    return np.asarray(image).min(axis=-1) < 250


# ---------------------------------------------------------------------------------------------------- flat images


def test_a_flat_field_is_written_pixel_by_pixel(flat: TrainedField, tmp_path: Path):
    out = render_file(flat, None, folder=tmp_path)
    assert out == tmp_path / "image.png"
    found = iio.imread(out)
    assert found.shape == (16, 24, 3)
    assert np.array_equal(found[:, 0, 0], (np.linspace(0, 1, 16) * 255).round())
    assert np.array_equal(found[0, :, 1], (np.linspace(0, 1, 24) * 255).round())


@pytest.mark.parametrize(("scale", "shape"), [(2.0, (32, 48)), (0.5, (8, 12)), (1.5, (24, 36)), (None, (16, 24))])
def test_scale_multiplies_the_pixels_of_both_sides(flat: TrainedField, tmp_path: Path, scale: Any, shape: tuple):
    out = render_file(flat, tmp_path / "p.png", folder=tmp_path, scale=scale)
    found = iio.imread(out).astype(float) / 255
    assert found.shape == (*shape, 3)
    # the same image, not a part of it
    np.testing.assert_allclose(found.mean(axis=(0, 1)), [0.5, 0.5, 0.0], atol=0.01)
    assert found[0, 0, :2].max() < 0.1
    assert found[-1, -1, :2].min() > 0.9


def test_size_is_width_by_height(flat: TrainedField, tmp_path: Path):
    out = render_file(flat, tmp_path / "p.png", folder=tmp_path, size=(30, 10))
    assert iio.imread(out).shape == (10, 30, 3)


@pytest.mark.parametrize(
    ("trained", "name", "size", "limit"),
    [
        ("flat", "p.webp", (16384, 4), "a side in .webp has at most 16383 pixels"),
        ("flat", "p.jpg", (65536, 4), "a side in .jpg has at most 65500 pixels"),
        ("clay", "p.jpg", (65536, 4), "a side in .jpg has at most 65500 pixels"),
        ("clay", "v.mp4", (17000, 2), "a side in .mp4 has at most 16384 pixels"),
    ],
)
def test_what_a_format_does_not_hold_is_refused_before_any_work(
    trained: str, name: str, size: Any, limit: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: Any
):
    monkeypatch.setattr("fieldengine.export.render.render_image", lambda *arguments: pytest.fail("rendered"))
    with pytest.raises(RunError, match=f"{size[0]}x{size[1]} pixels are asked for; {limit}") as caught:
        render_file(request.getfixturevalue(trained), tmp_path / name, folder=tmp_path, size=size)
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("asked", [{"scale": 0.01}, {"size": (0, 5)}, {"size": (1 << 15, 1 << 14)}, {"scale": 1e6}])
def test_no_pixels_and_too_many_are_refused_before_any_work(flat: TrainedField, tmp_path: Path, asked: Any):
    with pytest.raises(FieldEngineError, match=f"it needs 1 to {MAX_PIXELS} pixels"):
        render_file(flat, tmp_path / "p.png", folder=tmp_path, **asked)
    assert not list(tmp_path.iterdir())


def test_a_camera_path_is_refused_for_a_flat_image(flat: TrainedField, tmp_path: Path):
    with pytest.raises(FieldEngineError, match="seen by cameras"):
        render_file(flat, tmp_path / "p.png", folder=tmp_path, path="orbit")


def test_a_wrong_ending_is_refused_before_any_work(flat: TrainedField, clay: TrainedField, tmp_path: Path):
    def asked(x: Tensor) -> Tensor:
        raise AssertionError("the field was asked")

    flat.field.values = asked  # pyright: ignore
    clay.field.sdf = asked  # pyright: ignore
    for trained in (flat, clay):
        with pytest.raises(RunError, match=r"found \.txt"):
            render_file(trained, tmp_path / "p.txt", folder=tmp_path)


def test_a_field_without_a_image_is_told_so(flat: TrainedField, tmp_path: Path):
    bare = TrainedField(flat.field, flat.renderer, Domain(task="sdf", aabb=flat.domain.aabb, out_dim=3))
    with pytest.raises(RunError, match="no image to render"):
        render_file(bare, None, folder=tmp_path)


# ------------------------------------------------------------------------------------------------------ through cameras


def test_clay_shows_the_silhouette_of_the_ball(clay: TrainedField):
    grid = camera(120)
    values = render_image(clay.field, clay.renderer, clay.domain, grid).values
    assert values.shape == (120, 120, 3)
    shown, expected = values.amin(dim=-1) < 0.99, silhouette(grid)
    assert 0.1 < float(expected.float().mean()) < 0.6
    assert float((shown != expected).float().mean()) < 0.005, "but for a rim of single pixels"


def test_clay_is_lit_from_the_camera_and_from_above(clay: TrainedField):
    values = render_image(clay.field, clay.renderer, clay.domain, camera(121, (10.0, 0.0, 5.0))).values
    bright = values.mean(dim=-1)
    middle, rim = bright[60, 60], bright[60, silhouette(camera(121, (10.0, 0.0, 5.0)))[60].nonzero()[2, 0]]
    assert middle > rim
    assert bright[45, 60] > bright[75, 60]


def test_a_image_of_a_scene_with_cameras_is_its_portrait(clay: TrainedField, tmp_path: Path):
    out = render_file(clay, tmp_path / "p.png", folder=tmp_path)
    assert (covered(iio.imread(out)) != silhouette(camera()).numpy()).mean() < 0.02
    wide = render_file(clay, tmp_path / "w.png", folder=tmp_path, size=(60, 30))
    found = covered(iio.imread(wide))
    assert found.shape == (30, 60)
    rows, columns = np.nonzero(found)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1), "a ball is as wide as it is high"
    assert columns.mean() == pytest.approx(29.5, abs=1), "and stays in the middle"


def test_an_orbit_is_a_video_of_as_many_frames_as_asked_for(clay: TrainedField, tmp_path: Path):
    on_progress: list[tuple[int, int]] = []
    out = render_file(
        clay, None, folder=tmp_path, frames=5, on_progress=lambda done, of: on_progress.append((done, of))
    )
    assert out == tmp_path / "orbit.mp4"
    found = iio.imread(out, plugin="pyav")
    assert found.shape == (5, 40, 40, 3)
    assert on_progress == [(i, 5) for i in range(1, 6)]
    areas = covered(found).mean(axis=(1, 2))
    np.testing.assert_allclose(areas, areas[0], rtol=0.05)  # a ball looks the same from everywhere on the circle
    assert areas[0] > 0.1


def test_a_spiral_is_a_video_too_and_size_and_rate_are_heeded(clay: TrainedField, tmp_path: Path):
    out = render_file(clay, None, folder=tmp_path, path="spiral", frames=3, size=(31, 21), fps=12)
    assert out == tmp_path / "spiral.mp4"
    assert iio.imread(out, plugin="pyav").shape == (3, 22, 32, 3)
    assert iio.immeta(out, plugin="pyav")["fps"] == pytest.approx(12)


def poses(*eyes: tuple[float, float, float]) -> list[list[list[float]]]:
    rows = [look_at(torch.tensor(eye), CENTRE, UP).tolist() for eye in eyes]
    return [[*matrix, [0.0, 0.0, 0.0, 1.0]] for matrix in rows]


@pytest.mark.parametrize("form", ["list", "transforms"])
def test_a_path_may_come_from_a_file_of_poses(clay: TrainedField, tmp_path: Path, form: str):
    matrices = poses((10.0, 0.0, 5.0), (10.0, 0.0, 15.0))
    content = matrices if form == "list" else {"frames": [{"transform_matrix": matrix} for matrix in matrices]}
    file = tmp_path / "flight.json"
    file.write_text(json.dumps(content))
    out = render_file(clay, None, folder=tmp_path / "images", path=str(file))
    assert out == tmp_path / "images" / "flight.mp4"
    found = iio.imread(out, plugin="pyav")
    assert len(found) == 2, "as many frames as poses"
    # from twice as far the ball covers about a quarter; exactly: the square of the ratio of tangents
    near, far = covered(found).mean(axis=(1, 2))
    tangents = [math.tan(math.asin(RADIUS / distance)) for distance in (10.0, 20.0)]
    assert far / near == pytest.approx((tangents[1] / tangents[0]) ** 2, rel=0.15)


def test_a_image_along_a_path_is_its_first_frame(clay: TrainedField, tmp_path: Path):
    file = tmp_path / "flight.json"
    file.write_text(json.dumps(poses((30.0, 0.0, -5.0), (10.0, 0.0, 5.0))))
    out = render_file(clay, tmp_path / "p.png", folder=tmp_path, path=str(file))
    expected = silhouette(camera(40, (30.0, 0.0, -5.0))).numpy()
    assert (covered(iio.imread(out)) != expected).mean() < 0.02


def test_a_named_path_wins_over_the_portrait(clay: TrainedField, tmp_path: Path):
    for path, poses_of in (("orbit", orbit), ("spiral", spiral)):
        out = render_file(clay, tmp_path / f"{path}.png", folder=tmp_path, path=path, frames=9)
        expected = silhouette(camera().at(poses_of(clay.domain, 9)[0])).numpy()
        assert (covered(iio.imread(out)) != expected).mean() < 0.02


def test_a_path_that_is_none_is_refused_with_those_there_are(clay: TrainedField, tmp_path: Path):
    with pytest.raises(FieldEngineError, match="orbit, spiral"):
        render_file(clay, None, folder=tmp_path, path="circle")
    with pytest.raises(DataError, match="no such file"):
        render_file(clay, None, folder=tmp_path, path=str(tmp_path / "none.json"))
    for content in ("{", "[]", '{"frames": []}', "[[1, 2]]", '[[["a"]]]', '{"frames": [3]}', '{"frames": 7}', "7"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(DataError, match=r"bad\.json"):
            render_file(clay, None, folder=tmp_path, path=str(tmp_path / "bad.json"))


def test_sized_keeps_what_a_camera_sees():
    before, after = camera(40), sized(camera(40), 2.0, None)
    corner, far = before.items(torch.tensor([0, 1, 40, 41])), after.items(torch.tensor([81]))
    # the pixel (1, 1) of the fine image lies in the pixel (0, 0) of the coarse one
    angle = (far.viewdirs[0] @ corner.viewdirs.T).argmax()
    assert int(angle) == 0


# --------------------------------------------------------------------------------------------------- the command line


def test_the_command_takes_a_scale_a_size_and_a_file(scene: Any, photo: Path, tmp_path: Path):
    text = f"dataset: {{type: image, path: {photo}}}\nfield: {{encoding: identity, width: 8, depth: 1}}\n"
    run = fieldengine.train(scene(text + "training: {steps: 2}"), out=tmp_path / "run")

    def render(*options: str) -> Any:
        found = CliRunner().invoke(app, ["render", str(run.folder), *options], catch_exceptions=False)
        return iio.imread(found.stdout.strip())

    assert render().shape == (16, 24, 3)
    assert (tmp_path / "run" / "images" / "image.png").exists()
    assert render("--scale", "2", "--out", str(tmp_path / "a.png")).shape == (32, 48, 3)
    assert render("--size", "10x6", "--out", str(tmp_path / "b.jpg")).shape == (6, 10, 3)
    assert render("--size", "10X6", "--out", str(tmp_path / "c.jpg")).shape == (6, 10, 3)
    for wrong in ("10", "x", "10x", "-1x5", "10x6x3", "tenxsix"):
        with pytest.raises(FieldEngineError, match="WIDTHxHEIGHT"):
            render("--size", wrong)


def test_a_file_of_poses_brings_its_lens_its_size_and_its_number_of_frames(clay: TrainedField, tmp_path: Path):
    matrices = poses((10.0, 0.0, 5.0), (10.0, 0.0, 5.0))
    sizes, shares = [], []
    for angle, size in ((0.5, {}), (1.0, {}), (1.0, {"w": 64, "h": 32})):
        content = {"camera_angle_x": angle, **size, "frames": [{"transform_matrix": matrix} for matrix in matrices]}
        (tmp_path / "flight.json").write_text(json.dumps(content))
        out = render_file(clay, tmp_path / "p.png", folder=tmp_path, path=str(tmp_path / "flight.json"))
        shown = iio.imread(out)
        sizes.append(shown.shape[:2])
        shares.append(covered(shown).mean() * shown.shape[0] / shown.shape[1])
    assert sizes[2] == (32, 64)
    assert shares[0] / shares[1] == pytest.approx((math.tan(0.5) / math.tan(0.25)) ** 2, rel=0.15)
    with pytest.raises(FieldEngineError, match=r"--frames 9 applies to orbit and spiral; .* has 2 poses"):
        render_file(clay, None, folder=tmp_path, path=str(tmp_path / "flight.json"), frames=9)


def test_what_a_file_of_poses_says_in_vain_is_told(clay: TrainedField, tmp_path: Path):
    (tmp_path / "flight.json").write_text(
        json.dumps({"colour": 1, "frames": [{"transform_matrix": poses((10.0, 0.0, 5.0))[0]}]})
    )
    said: list[str] = []
    path = str(tmp_path / "flight.json")
    render_file(clay, tmp_path / "p.png", folder=tmp_path, path=path, on_note=said.append)
    assert said == [f"{path}: keys that are not known are not used: `colour`"]
