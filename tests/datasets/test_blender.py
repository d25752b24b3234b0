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
