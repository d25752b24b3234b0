"""Posed images in the NeRF-synthetic layout: cameras as the format defines them, transparency mixed as asked."""

from __future__ import annotations

import json
import math
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

from fieldengine.datasets.blender import Blender
from fieldengine.datasets.images import color
from fieldengine.datasets.multiview import MultiviewDataset
from fieldengine.errors import DataError
from fieldengine.types import RunContext

HEIGHT, WIDTH, ANGLE = 6, 8, 0.7
FOCAL = 0.5 * WIDTH / math.tan(0.5 * ANGLE)
COUNTS = {"train": 3, "val": 1, "test": 2}


def pose(seed: int) -> NDArray[np.float64]:
    """A camera placed at random, which looks at the origin and is rolled at random."""
    random = np.random.default_rng(seed)
    place = random.normal(size=3)
    q, r = np.linalg.qr(np.column_stack([place, random.normal(size=(3, 2))]))
    q = (q * np.sign(np.diag(r)))[:, [1, 2, 0]]  # what it looks away from is the place
    q[:, 0] *= np.linalg.det(q)
    return np.vstack([np.column_stack([q, 3 * place]), [[0, 0, 0, 1]]])


def straight_rgba(seed: int) -> NDArray[np.uint8]:
    """Noise with a third of the pixels opaque, a third clear, a third in between."""
    random = np.random.default_rng(100 + seed)
    image = random.integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    image[:2, :, 3], image[2:4, :, 3] = 255, 0
    return image


def seed_of(split: str, i: int) -> int:
    return 10 * list(COUNTS).index(split) + i


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, n in COUNTS.items():
        (tmp_path / "scene" / split).mkdir(parents=True)
        frames = []
        for i in range(n):
            iio.imwrite(tmp_path / "scene" / split / f"r_{i}.png", straight_rgba(seed_of(split, i)))
            name = f"./{split}/r_{i}" + (".png" if i == 1 else "")  # both are found in the wild
            frames.append({"file_path": name, "transform_matrix": pose(seed_of(split, i)).tolist(), "rotation": 0.1})
        found = {"camera_angle_x": ANGLE, "frames": frames}
        (tmp_path / "scene" / f"transforms_{split}.json").write_text(json.dumps(found), encoding="utf-8")
    return tmp_path / "scene"


@pytest.fixture
def build(context: RunContext) -> Callable[..., MultiviewDataset]:
    return lambda path, **options: Blender(path, **options).build(context=context)


def every(dataset: MultiviewDataset) -> Tensor:
    return torch.arange(dataset.n_items)


def straight(split: str) -> Tensor:
    """All images of a split as they were written, (n h w, 4) in [0, 1]."""
    images = [straight_rgba(seed_of(split, i)).reshape(-1, 4) for i in range(COUNTS[split])]
    return torch.from_numpy(np.concatenate(images)).float() / 255


def test_every_split_has_its_images_and_the_training_ones_are_the_items(folder: Path, build):
    dataset = build(folder)
    assert dataset.n_items == 3 * HEIGHT * WIDTH
    for split, n in COUNTS.items():
        views = dataset.views(split)
        assert [view.name for view in views] == [f"r_{i}" for i in range(n)]
        assert {view.grid.shape for view in views} == {(HEIGHT, WIDTH)}


def test_a_split_that_has_no_file_has_no_views(folder: Path, build):
    (folder / "transforms_val.json").unlink()
    assert list(build(folder).views("val")) == []
    assert len(build(folder).views("test")) == 2


def test_the_focal_length_follows_from_the_horizontal_field_of_view(folder: Path, build):
    camera = build(folder).views("train")[0].grid
    assert camera.fx == camera.fy == pytest.approx(FOCAL)
    assert (camera.cx, camera.cy) == (WIDTH / 2, HEIGHT / 2)


def test_rays_leave_the_camera_through_the_middles_of_the_pixels(folder: Path, build):
    dataset = build(folder)
    rays = dataset.batch(every(dataset), torch.Generator()).items
    for i in range(COUNTS["train"]):
        matrix = pose(seed_of("train", i))
        row, column = np.mgrid[0:HEIGHT, 0:WIDTH]
        local = np.stack(
            [(column + 0.5 - WIDTH / 2) / FOCAL, -(row + 0.5 - HEIGHT / 2) / FOCAL, -np.ones_like(row, float)], axis=-1
        ).reshape(-1, 3)
        world = local @ matrix[:3, :3].T
        world /= np.linalg.norm(world, axis=1, keepdims=True)
        mine = rays[i * HEIGHT * WIDTH : (i + 1) * HEIGHT * WIDTH]
        torch.testing.assert_close(mine.viewdirs, torch.from_numpy(world).float(), atol=1e-5, rtol=0)
        torch.testing.assert_close(mine.origins, torch.from_numpy(matrix[:3, 3]).float().expand_as(mine.origins))


def test_the_rays_of_items_agree_with_those_of_the_cameras(folder: Path, build):
    dataset = build(folder)
    rays = dataset.batch(every(dataset), torch.Generator()).items
    pixels = torch.arange(HEIGHT * WIDTH)
    each = [view.grid.items(pixels) for view in dataset.views("train")]
    torch.testing.assert_close(rays.origins, torch.cat([part.origins for part in each]))
    torch.testing.assert_close(rays.viewdirs, torch.cat([part.viewdirs for part in each]))
    shuffled = torch.randperm(dataset.n_items, generator=torch.Generator().manual_seed(0))
    again = dataset.batch(shuffled, torch.Generator()).items
    assert torch.equal(again.viewdirs, rays.viewdirs[shuffled])
    assert torch.equal(again.origins, rays.origins[shuffled])


def test_a_random_background_shows_behind_transparent_pixels_and_leaves_opaque_ones_alone(folder: Path, build):
    dataset = build(folder, random_background=True)
    image = straight("train")
    alpha = image[:, 3:]
    batches = [dataset.batch(every(dataset), torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    for batch in batches:
        wanted = alpha * image[:, :3] + (1 - alpha) * batch.background
        torch.testing.assert_close(batch.targets, wanted, atol=0.5 / 255 + 1e-6, rtol=0)
    opaque, clear = image[:, 3] == 1, image[:, 3] == 0
    a, b = batches
    assert opaque.sum() == clear.sum() == dataset.n_items // 3
    assert torch.equal(a.targets[opaque], b.targets[opaque])
    assert torch.equal(a.targets[clear], a.background[clear])
    assert not torch.equal(a.background, b.background)
    assert 0.0 <= a.background.min() < 0.1 < 0.9 < a.background.max() <= 1.0
    assert len(a.background.unique(dim=0)) > 0.9 * len(a.background), "each ray has a colour of its own"


def test_the_generator_alone_decides_the_random_backgrounds(folder: Path, build):
    dataset = build(folder)
    batches = [dataset.batch(every(dataset), torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(batches[0].background, batches[1].background)
    assert torch.equal(batches[0].targets, batches[1].targets)


@pytest.mark.parametrize("background", ["white", "black", "grey", (0.1, 0.2, 0.3)])
def test_a_fixed_background_lies_behind_items_and_views_alike(background: Any, folder: Path, build):
    dataset = build(folder, background=background, random_background=False)
    behind = color(background)
    batch = dataset.batch(every(dataset), torch.Generator())
    assert torch.equal(batch.background, behind.expand_as(batch.background))
    for split, found in (
        ("train", batch.targets),
        ("test", torch.cat([view.target for view in dataset.views("test")])),
    ):
        image = straight(split)
        alpha = image[:, 3:]
        torch.testing.assert_close(found, alpha * image[:, :3] + (1 - alpha) * behind, atol=0.5 / 255 + 1e-6, rtol=0)
    assert all(torch.equal(view.background, behind) for view in dataset.views("test"))
    assert dataset.domain.background == pytest.approx(behind.tolist())


def test_opaque_images_get_no_random_background(folder: Path, build):
    for file in folder.rglob("*.png"):
        iio.imwrite(file, np.ascontiguousarray(iio.imread(file)[..., :3]))
    dataset = build(folder, random_background=True)
    batch = dataset.batch(every(dataset), torch.Generator())
    assert torch.equal(batch.targets, straight("train")[:, :3])
    assert torch.equal(batch.background, torch.ones_like(batch.background))


def test_grey_images_become_grey_colours(folder: Path, build):
    for file in folder.rglob("*.png"):
        iio.imwrite(file, np.ascontiguousarray(iio.imread(file)[..., 0]))
    batch = build(folder).batch(torch.arange(HEIGHT * WIDTH), torch.Generator())
    assert torch.equal(batch.targets, straight("train")[: HEIGHT * WIDTH, :1].expand(-1, 3))


def test_downscale_averages_what_is_seen_and_keeps_the_field_of_view(folder: Path, build):
    dataset = build(folder, downscale=2, background="black", random_background=False)
    camera = dataset.views("train")[0].grid
    assert (camera.height, camera.width, camera.fx) == (HEIGHT // 2, WIDTH // 2, pytest.approx(FOCAL / 2))
    image = straight("train").view(3, HEIGHT, WIDTH, 4)
    seen = (image[..., :3] * image[..., 3:]).view(3, HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((2, 4))
    batch = dataset.batch(every(dataset), torch.Generator())
    torch.testing.assert_close(batch.targets, seen.reshape(-1, 3), atol=0.5 / 255 + 1e-6, rtol=0)


def test_the_box_is_the_one_of_the_scene(folder: Path, build):
    aabb = build(folder, aabb=((-1, -2, -3), (4, 5, 6))).domain.aabb
    assert (aabb.lower.tolist(), aabb.upper.tolist()) == ([-1, -2, -3], [4, 5, 6])


def test_the_turntable_runs_at_the_mean_distance_of_the_training_cameras(folder: Path, build):
    domain = build(folder).domain
    eyes = [np.linalg.norm(pose(seed_of("train", i))[:3, 3]) for i in range(3)]
    assert domain.radius == pytest.approx(np.mean(eyes), rel=1e-5)
    assert domain.centre == (0.0, 0.0, 0.0)


def test_the_real_lego_is_read_whole(data: Path, build):
    dataset = build(data / "scenes" / "lego_400", downscale=8)
    assert {split: len(dataset.views(split)) for split in COUNTS} == {"train": 100, "val": 10, "test": 25}
    assert dataset.n_items == 100 * 50 * 50
    camera = dataset.views("test")[0].grid
    assert (camera.height, camera.width, camera.fx) == (50, 50, pytest.approx(555.556 / 8, rel=1e-5))
    assert dataset.domain.radius == pytest.approx(4.031, abs=2e-3)
    target = dataset.views("test")[0].target.view(50, 50, 3)
    assert torch.equal(target[:2], torch.ones(2, 50, 3)), "nothing but background along the upper border"
    assert float(target[20:30, 20:30].mean()) < 0.8


def test_fewer_training_views_are_spread_evenly_and_no_split_but_train_shrinks(folder: Path, build):
    dataset = build(folder, train_views=2)
    assert [view.name for view in dataset.views("train")] == ["r_0", "r_1"]
    assert dataset.n_items == 2 * HEIGHT * WIDTH
    assert len(dataset.views("test")) == COUNTS["test"]
    with pytest.raises(DataError, match="holds 3 images; train_views asks for 4"):
        build(folder, train_views=4)


def test_a_quarter_of_the_views_is_every_fourth(data: Path, build):
    names = [view.name for view in build(data / "scenes" / "lego_400", downscale=40, train_views=25).views("train")]
    assert names == [f"r_{i}" for i in range(0, 100, 4)]


# ------------------------------------------------------------------------------------------- files as people have them


@pytest.fixture
def rewrite(folder: Path) -> Callable[..., Path]:
    """Changes the JSON of a split; returns its path."""

    def change(how: Callable[[dict[str, Any]], object], split: str = "train") -> Path:
        path = folder / f"transforms_{split}.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        how(found)
        path.write_text(json.dumps(found), encoding="utf-8")
        return path

    return change


def named(name: str, frame: int = 0) -> Callable[[dict[str, Any]], object]:
    return lambda found: found["frames"][frame].__setitem__("file_path", name)


def first_image(dataset: MultiviewDataset) -> Tensor:
    return dataset.views("train")[0].target


@pytest.mark.parametrize(
    "name",
    [
        "train/r_0.png",
        "train/r_0",
        "./train//r_0.png",
        ".\\train\\r_0",
        "train\\r_0.png",
        "train/../train/r_0.png",
        "train/./r_0",
        "train/r%5f0.png",
        "train/r_0.PNG",
        "{folder}/train/r_0.png",
        "{folder}/train/r_0",
    ],
)
def test_a_name_leads_to_its_image_however_it_is_written(name: str, folder: Path, build, rewrite):
    rewrite(named(name.format(folder=folder)))
    assert torch.equal(first_image(build(folder)), first_image(build(folder)))
    assert build(folder).views("train")[0].name == "r_0"


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "webp", "PNG", "JPG", "bmp", "tif"])
def test_the_ending_may_be_left_to_the_folder(ending: str, folder: Path, build):
    (folder / "train" / "r_0.png").unlink()
    iio.imwrite(folder / "train" / f"r_0.{ending}", np.full((HEIGHT, WIDTH, 3), [10, 10, 10], np.uint8))
    found = first_image(build(folder))
    torch.testing.assert_close(found, torch.full_like(found, 10 / 255), atol=2 / 255, rtol=0)


def test_a_dot_in_a_name_is_no_ending(folder: Path, build, rewrite):
    (folder / "train" / "r_0.png").rename(folder / "train" / "view_0.5.png")
    rewrite(named("train/view_0.5"))
    assert build(folder).views("train")[0].name == "view_0.5"


def test_accents_in_one_letter_or_two_are_the_same_name(folder: Path, build, rewrite):
    (folder / "train" / "r_0.png").rename(folder / "train" / "e\u0301 t.png")
    rewrite(named("train/\u00e9%20t"))
    assert build(folder).n_items == 3 * HEIGHT * WIDTH


REFUSED_NAMES: dict[str, tuple[str, str]] = {
    "NUL": ("train/r_0\x00.png", "frame 0: `file_path` holds a character that no name of a file has"),
    "half a letter": ("train/r_\ud800", "frame 0: `file_path` holds a character"),
    "an address": ("https://example.org/r_0.png", "frame 0: `file_path` is an address"),
    "a file address": ("file:///r_0.png", "frame 0: `file_path` is an address"),
    "a drive": ("C:\\train\\r_0.png", "frame 0 points outside the folder"),
    "upwards": ("train/../../r_0.png", "frame 0 points outside the folder"),
    "upwards with backslashes": ("..\\r_0.png", "frame 0 points outside the folder"),
    "upwards in escapes": ("%2e%2e/r_0.png", "of which 1 are missing"),
    "another root": ("/train/r_0.png", "frame 0 points outside the folder"),
    "a folder": ("train", "of which 1 are missing"),
    "the folder": (".", "frame 0 points outside the folder"),
    "a long name": ("x" * 5000, "of which 1 are missing"),
    "another ending": ("train/r_0.jpg", "of which 1 are missing: train/r_0.jpg. There is train/r_0.png: name it"),
}


@pytest.mark.parametrize("case", REFUSED_NAMES)
def test_a_name_that_leads_to_no_image_is_refused(case: str, folder: Path, build, rewrite):
    name, message = REFUSED_NAMES[case]
    path = rewrite(named(name))
    with pytest.raises(DataError) as caught:
        build(folder)
    assert message in str(caught.value)
    assert caught.value.path == path


def test_a_name_that_several_files_have_is_refused(folder: Path, build):
    iio.imwrite(folder / "train" / "r_0.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(DataError, match=r"frame 0: .*could be any of r_0\.jpg, r_0\.png\. Write the ending"):
        build(folder)


def test_links_inside_the_folder_are_followed_wherever_they_lead(folder: Path, build, tmp_path: Path):
    wanted = first_image(build(folder, random_background=False))
    (tmp_path / "blobs").mkdir()
    (folder / "train" / "r_0.png").rename(tmp_path / "blobs" / "4f2a")
    (folder / "train" / "r_0.png").symlink_to(tmp_path / "blobs" / "4f2a")
    assert torch.equal(first_image(build(folder)), wanted)


def test_a_folder_that_is_a_link_takes_names_of_either_path(folder: Path, build, rewrite, tmp_path: Path):
    (tmp_path / "link").symlink_to(folder)
    for root in (folder, tmp_path / "link"):
        rewrite(named(f"{root}/train/r_0.png"))
        assert build(tmp_path / "link").n_items == 3 * HEIGHT * WIDTH


def test_an_orientation_tag_turns_nothing_and_is_said_once(folder: Path, build):
    plain = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    plain[:, : WIDTH // 2] = 20
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    for split, n in COUNTS.items():
        for i in range(n):
            (folder / split / f"r_{i}.png").unlink()
            PillowImage.fromarray(plain).save(folder / split / f"r_{i}.png", exif=exif)
    dataset = build(folder)
    assert {view.grid.shape for view in dataset.views("train")} == {(HEIGHT, WIDTH)}
    assert torch.equal(first_image(dataset).view(HEIGHT, WIDTH, 3), torch.from_numpy(plain) / 255)
    (sentence,) = dataset.notes()
    assert "r_0 and 5 others: the orientation tag 6 is not applied" in sentence


def test_downscale_scales_the_lens_exactly_where_a_rest_is_cut_off(folder: Path, build, rewrite):
    rewrite(lambda found: found.update(cx=3.0, cy=2.5, w=WIDTH, h=HEIGHT))
    camera = build(folder, downscale=4).views("train")[0].grid
    assert (camera.height, camera.width) == (1, 2)
    assert (camera.fx, camera.fy) == (pytest.approx(FOCAL / 4), pytest.approx(FOCAL / 4))
    assert (camera.cx, camera.cy) == (0.75, 0.625)


def test_rays_are_those_of_the_lens_that_the_file_states(folder: Path, build, rewrite):
    lens = {"fl_x": 9.0, "fl_y": 8.0, "cx": 3.0, "cy": 3.5, "k1": -0.1, "p1": 0.01}
    rewrite(lambda found: (found.pop("camera_angle_x"), found.update(lens)))
    dataset = build(folder)
    rays = dataset.batch(torch.arange(HEIGHT * WIDTH), torch.Generator()).items
    local = (rays.viewdirs.double() @ torch.from_numpy(pose(0)[:3, :3])).numpy() * [1, -1, -1]
    u, v = local[:, 0] / local[:, 2], local[:, 1] / local[:, 2]
    r2 = u * u + v * v
    x = u * (1 - 0.1 * r2) + 2 * 0.01 * u * v
    y = v * (1 - 0.1 * r2) + 0.01 * (r2 + 2 * v * v)
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH].reshape(2, -1)
    np.testing.assert_allclose(9 * x + 3, column + 0.5, atol=1e-4)
    np.testing.assert_allclose(8 * y + 3.5, row + 0.5, atol=1e-4)


def test_a_frame_without_distortion_among_distorted_ones_stays_straight(folder: Path, build, rewrite):
    rewrite(lambda found: found["frames"][1].update(k1=0.1))
    straight, bent = (view.grid for view in build(folder).views("train")[:2])
    assert straight.parameters == (0.0,) * 8
    assert bent.parameters[0] == 0.1
    rewrite(lambda found: found["frames"][2].update(fl_x=8.0, is_fisheye=True))
    with pytest.raises(DataError, match="cameras of several models"):
        build(folder)


def test_distortion_that_folds_the_image_over_is_refused_with_the_file(folder: Path, build, rewrite):
    path = rewrite(lambda found: found["frames"][1].update(k1=-9.0))
    with pytest.raises(DataError, match=r"frame 1: its distortion \(-9, .*folds the image over") as caught:
        build(folder)
    assert caught.value.path == path


def test_one_lens_for_images_of_several_sizes_is_used_where_it_can_be(folder: Path, build, rewrite):
    iio.imwrite(folder / "train" / "r_1.png", np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8))
    assert build(folder).views("train")[1].grid.fx == pytest.approx(2 * FOCAL), "an angle suits every size"
    rewrite(lambda found: found.update(fl_x=FOCAL))
    with pytest.raises(DataError, match=r"frame 1: its image has 16x12 pixels, that of frame 0 8x6"):
        build(folder)
    rewrite(lambda found: found.update(w=WIDTH, h=HEIGHT))
    assert build(folder).views("train")[1].grid.fx == pytest.approx(2 * FOCAL)
    iio.imwrite(folder / "train" / "r_1.png", np.zeros((WIDTH, HEIGHT, 3), np.uint8))
    rewrite(lambda found: [found.pop(key) for key in ("w", "h", "fl_x")])
    with pytest.raises(DataError, match=r"does not fit both"):
        build(folder)


def each_pose(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable[[dict[str, Any]], None]:
    def apply(found: dict[str, Any]) -> None:
        for frame in found["frames"]:
            frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()

    return apply


FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
MISTAKES: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], str]] = {
    "OpenCV's axes": (lambda pose: pose @ FLIP, "With y and z of the cameras flipped they would"),
    "world-to-camera": (np.linalg.inv, "Inverted they would: the poses are world-to-camera"),
    "OpenCV's world-to-camera": (lambda pose: np.linalg.inv(pose @ FLIP), "Inverted, and with y and z flipped"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_cameras_that_look_away_are_refused_with_the_cause(mistake: str, folder: Path, build, rewrite):
    change, cause = MISTAKES[mistake]
    path = rewrite(each_pose(change))
    with pytest.raises(DataError, match=f"no ray of its 3 cameras meets the box .*{cause}") as caught:
        build(folder, aabb=((-0.4, -0.4, -0.4), (0.4, 0.4, 0.4)))
    assert caught.value.path == path


def test_cameras_that_stand_at_one_place_are_said_to_see_no_depth(folder: Path, build, rewrite):
    def stay(found: dict[str, Any]) -> None:
        for frame, turn in zip(found["frames"], (0.0, 0.1, 0.2), strict=True):
            c, s = math.cos(turn), math.sin(turn)
            frame["transform_matrix"] = [[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 4], [0, 0, 0, 1]]

    assert not any("near from far" in note for note in build(folder).notes()), "test and val may have one view"
    rewrite(stay)
    notes = build(folder).notes()
    assert "transforms_train.json: all 3 cameras stand at one place; nothing tells near from far" in notes
    assert any("there is one camera only" in note for note in build(folder, train_views=1).notes())


def moved(by: float) -> Callable[[dict[str, Any]], None]:
    def move(found: dict[str, Any]) -> None:
        for frame in found["frames"]:
            frame["transform_matrix"][0][3] += by

    return move


def test_a_box_elsewhere_is_refused_with_the_place_that_cameras_look_at(folder: Path, build, rewrite):
    rewrite(moved(100.0))
    with pytest.raises(DataError, match=r"no ray .* The cameras look at \(100, .*set `dataset.aabb` around that place"):
        build(folder)


def test_cameras_that_see_little_or_nothing_of_the_box_are_named(folder: Path, build, rewrite):
    rewrite(lambda found: found["frames"][1].update(transform_matrix=(pose(1) @ np.diag([1.0, -1, -1, 1])).tolist()))
    (sentence,) = build(folder).notes()
    assert "1 of 3 cameras see nothing of the box `dataset.aabb`: r_1" in sentence
    box = {"aabb": ((-0.01, -0.01, -0.01), (0.01, 0.01, 0.01))}
    with pytest.raises(DataError, match=r"It lies between their pixels.*enlarge `dataset.aabb`"):
        build(folder, **box)
    for split in COUNTS:  # now a pixel looks straight at the origin
        rewrite(lambda found: found.update(cx=4.5, cy=3.5), split)
    assert any(
        "only 1.39% of the rays meet the box `dataset.aabb`, 0.0346 across" in s for s in build(folder, **box).notes()
    )


def test_a_file_for_all_splits_is_named_where_there_is_no_other(folder: Path, build):
    (folder / "transforms_train.json").rename(folder / "transforms.json")
    with pytest.raises(DataError, match=r"has no transforms_train\.json\..*Rename transforms\.json"):
        build(folder)


def test_a_usual_scene_says_nothing(folder: Path, build):
    assert list(build(folder).notes()) == []


def test_a_scene_without_a_test_split_says_that_nothing_is_scored(folder: Path, build):
    (folder / "transforms_test.json").unlink()
    (sentence,) = build(folder).notes()
    assert "transforms_test.json is missing: there is no test split, and no score of it" in sentence


def test_a_test_split_without_images_is_left_out_and_said(folder: Path, build):
    for file in (folder / "test").iterdir():
        file.unlink()
    dataset = build(folder)
    assert dataset.splits == ("train", "val")
    (sentence,) = dataset.notes()
    assert "transforms_test.json names 2 images, of which 2 are missing: test/r_0.png, test/r_1.png" in sentence


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_that_lacks_some_images_is_refused(split: str, folder: Path, build):
    (folder / split / "r_1.png").unlink()
    with pytest.raises(DataError, match=r"of which 1 are missing: " + split):
        build(folder)


def test_images_without_contents_are_named(folder: Path, build):
    clear, grey = np.zeros((HEIGHT, WIDTH, 4), np.uint8), np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for i, image in enumerate((clear, clear, grey)):
        iio.imwrite(folder / "train" / f"r_{i}.png", image)
    notes = build(folder).notes()
    assert any("r_0 and 1 other: alpha is 0 everywhere" in note for note in notes)
    assert any("r_2: one colour everywhere, (128, 128, 128, 255)" in note for note in notes)


def test_images_that_are_named_twice_are_said(folder: Path, build, rewrite):
    rewrite(named("train/r_0.png", frame=1))
    rewrite(named("train/r_2.png"), "test")
    notes = build(folder).notes()
    assert any('frame 0 and 1 other: "./train/r_0" is named by 2 frames' in note for note in notes)
    assert any("1 of its 2 images are training images" in note for note in notes)


def test_views_whose_files_share_a_name_have_names_of_their_own(folder: Path, build, rewrite):
    (folder / "train" / "left").mkdir()
    (folder / "train" / "r_1.png").rename(folder / "train" / "left" / "r_0.png")
    rewrite(named("train/left/r_0", frame=1))
    assert [view.name for view in build(folder).views("train")] == ["train_r_0", "train_left_r_0", "train_r_2"]
