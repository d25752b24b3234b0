"""What every installed data set promises: a complete domain, sound batches, images that fit their grids."""

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

from fieldengine.cameras.restore import restore as restore_grid
from fieldengine.config.scene import SceneConfig, read_scene
from fieldengine.domain import describe, restore
from fieldengine.plugins.registry import Registry
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.types import Domain, Points, Rays, RunContext

REGISTRY = Registry()
SPLITS = ("train", "val", "test")
TASKS = ("image", "sdf", "views")


def blender_scene(folder: Path) -> Path:
    """Two splits of 8x8 RGBA images of a disc, taken from around the origin."""
    for split, n, turned in (("train", 3, 0.0), ("test", 2, 0.5)):
        (folder / split).mkdir(parents=True)
        frames = []
        for i in range(n):
            y, x = np.mgrid[0:8, 0:8] - 3.5
            alpha = np.where(np.hypot(x, y) < 3, 255, 0)
            image = np.stack([np.full((8, 8), 40 * i + 20), 30 * (x + 4), 30 * (y + 4), alpha], axis=-1)
            iio.imwrite(folder / split / f"r_{i}.png", image.astype(np.uint8))
            angle = 2 * math.pi * i / n + turned
            c, s = math.cos(angle), math.sin(angle)  # on a circle around z, looking inwards
            pose = [[-s, 0.0, c, 4 * c], [c, 0.0, s, 4 * s], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
            frames.append({"file_path": f"./{split}/r_{i}", "transform_matrix": pose})
        found = {"camera_angle_x": 0.7, "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(found))
    return folder


@pytest.fixture(params=REGISTRY.names("datasets"))
def config(request: pytest.FixtureRequest, tmp_path: Path, scene: Callable[[str], Path]) -> SceneConfig:
    """A small scene of each installed data set. A new data set gets a line here."""
    name = request.param
    samples: dict[str, Callable[[], str]] = {
        "image": lambda: f"path: {request.getfixturevalue('photo')}",
        "mesh": lambda: f"path: {request.getfixturevalue('ball')}, n_samples: 2000",
        "blender": lambda: f"path: {blender_scene(tmp_path / 'posed')}",
        "procedural": lambda: "views: 2, test_views: 1, size: 10",
    }
    assert name in samples, f"the data set {name} has no sample in this test; add one"
    return read_scene(scene(f"dataset: {{type: {name}, {samples[name]()}}}"), {}, REGISTRY)


def context_of(seed: int = 0) -> RunContext:
    return RunContext(torch.device("cpu"), torch.Generator().manual_seed(seed), seed)


@pytest.fixture
def dataset(config: SceneConfig) -> Any:
    return build_dataset(config, context_of())


def generator(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_its_options_say_what_they_are(config: SceneConfig):
    plugin = REGISTRY.find("datasets", config.plain["dataset"]["type"])
    doc = plugin.load().__doc__ or ""
    assert doc.strip()
    assert f"type: {plugin.name}" in doc, "the docstring shows the block of a scene"


def test_its_domain_is_complete(dataset: Any):
    domain: Domain = dataset.domain
    assert domain.task in TASKS
    assert domain.aabb.lower.dtype == domain.aabb.upper.dtype == torch.float32
    assert bool((domain.aabb.size > 0).all())
    assert bool(domain.aabb.size.isfinite().all())
    assert domain.out_dim >= 1
    assert dataset.n_items >= 1
    assert domain.radius > 0
    assert math.isclose(math.hypot(*domain.up), 1.0, rel_tol=1e-6)
    assert domain.background is None or all(0.0 <= value <= 1.0 for value in domain.background)
    if domain.task == "views":
        assert domain.background is not None
        assert len(domain.background) == domain.out_dim
        assert domain.grid is not None
    if domain.task == "sdf":
        assert dataset.surface is not None


def test_its_domain_survives_a_file_of_json(dataset: Any):
    domain: Domain = dataset.domain
    again = restore(json.loads(json.dumps(describe(domain))), torch.device("cpu"), REGISTRY)
    assert torch.equal(again.aabb.lower, domain.aabb.lower)
    assert torch.equal(again.aabb.upper, domain.aabb.upper)
    for name in ("task", "out_dim", "grid", "centre", "radius", "elevation", "up", "background"):
        assert getattr(again, name) == getattr(domain, name), name


def test_a_batch_has_one_row_per_item_asked_for(dataset: Any):
    indices = torch.tensor([dataset.n_items - 1, 0, 3, 3])
    batch = dataset.batch(indices, generator())
    assert len(batch) == len(batch.items) == 4
    assert torch.equal(batch.indices, indices)
    assert batch.targets.shape == (4, dataset.domain.out_dim)
    assert batch.targets.dtype == torch.float32
    dim = dataset.domain.aabb.dim
    if isinstance(batch.items, Points):
        assert batch.items.positions.shape == (4, dim)
        assert batch.items.positions.dtype == torch.float32
        assert batch.background is None
    else:
        assert isinstance(batch.items, Rays)
        assert batch.items.origins.shape == batch.items.viewdirs.shape == (4, 3)
        assert batch.items.origins.dtype == batch.items.viewdirs.dtype == torch.float32
        assert batch.background.shape == (4, dataset.domain.out_dim)


def test_every_item_is_sound(dataset: Any):
    batch = dataset.batch(torch.arange(dataset.n_items), generator())
    assert bool(batch.targets.isfinite().all())
    aabb = dataset.domain.aabb
    if isinstance(batch.items, Points):
        slack = 1e-5 * float(aabb.size.max())
        assert bool((batch.items.positions >= aabb.lower - slack).all())
        assert bool((batch.items.positions <= aabb.upper + slack).all())
    else:
        lengths = torch.linalg.vector_norm(batch.items.viewdirs, dim=-1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=1e-5)
        assert bool(batch.items.origins.isfinite().all())
    if dataset.domain.task == "sdf":  # in half edges of the box, so no place in it is farther than its diagonal
        assert float(batch.targets.abs().max()) <= 2 * math.sqrt(3)
        assert float(batch.targets.min()) < 0 < float(batch.targets.max())
    else:
        assert float(batch.targets.min()) >= 0.0
        assert float(batch.targets.max()) <= 1.0
        assert float(batch.targets.std()) > 0.01, "the sample shows something"


def test_an_item_is_the_same_in_whatever_company(dataset: Any):
    some = torch.tensor([1, dataset.n_items - 1, 2])
    alone = dataset.batch(some, generator())
    crowd = dataset.batch(torch.cat([some, torch.arange(dataset.n_items)]), generator())[torch.arange(3)]
    for name in vars(alone.items):
        assert torch.equal(getattr(alone.items, name), getattr(crowd.items, name))
    assert torch.equal(alone.targets, crowd.targets)  # a random background is drawn item by item, in order


def test_the_same_generator_gives_the_same_batch(dataset: Any):
    indices = torch.arange(min(50, dataset.n_items))
    first, second = (dataset.batch(indices, generator()) for _ in range(2))
    assert torch.equal(first.targets, second.targets)
    assert (first.background is None) == (second.background is None)
    assert first.background is None or torch.equal(first.background, second.background)


def test_reading_the_files_again_with_the_same_seed_gives_the_same_data(config: SceneConfig, dataset: Any):
    again = build_dataset(config, context_of())
    assert again.n_items == dataset.n_items
    first, second = (d.batch(torch.arange(d.n_items), generator()) for d in (dataset, again))
    assert torch.equal(first.targets, second.targets)
    for name in vars(first.items):
        assert torch.equal(getattr(first.items, name), getattr(second.items, name))


def test_its_views_fit_their_grids(dataset: Any):
    found = {split: dataset.views(split) for split in SPLITS}
    assert dataset.domain.task == "sdf" or found["test"], "there is something to score"
    assert list(dataset.views("no such split")) == [] or dataset.domain.task == "image"
    for view in (view for views in found.values() for view in views):
        n = math.prod(view.grid.shape)
        assert view.name
        assert view.target.shape == (n, dataset.domain.out_dim)
        assert 0.0 <= float(view.target.min()) <= float(view.target.max()) <= 1.0
        assert view.background is None or view.background.shape == (dataset.domain.out_dim,)
        pixels = torch.tensor([0, n - 1])
        items = view.grid.items(pixels)
        again = restore_grid(json.loads(json.dumps(view.grid.describe())), REGISTRY).items(pixels)
        for name, value in vars(items).items():
            assert value is getattr(again, name) is None or torch.equal(value, getattr(again, name))


def test_held_out_images_are_not_the_ones_it_trains_on(dataset: Any):
    if dataset.domain.task == "image":  # one image is every split
        return
    poses = [view.grid for view in dataset.views("train")]
    assert all(view.grid not in poses for view in dataset.views("test"))


def test_the_portrait_shows_the_box(dataset: Any):
    """The image that `render` makes when nothing else is asked looks at what is fitted."""
    grid, aabb = dataset.domain.grid, dataset.domain.aabb
    if grid is None:
        return
    middle = grid.items(torch.tensor([grid.shape[0] // 2 * grid.shape[1] + grid.shape[1] // 2]))
    if isinstance(middle, Points):
        nearest = middle.positions[0]
    else:
        along = (aabb.centre - middle.origins[0]) @ middle.viewdirs[0]
        assert float(along) > 0, "the box lies in front of the camera"
        nearest = middle.origins[0] + along * middle.viewdirs[0]
    assert bool(((nearest - aabb.centre).abs() < 0.5 * aabb.size).all())


def test_its_notes_are_sentences(dataset: Any):
    assert all(isinstance(note, str) and note.strip() for note in dataset.notes())


def test_its_default_field_and_renderer_are_installed_and_fit(config: SceneConfig, dataset: Any):
    options: Any = config.dataset
    assert options.default_field in REGISTRY.names("fields")
    assert options.default_renderer in REGISTRY.names("renderers")
    fit, trained = build_fit(config, dataset, context_of())
    assert fit.dataset is dataset
    assert trained.domain is dataset.domain
