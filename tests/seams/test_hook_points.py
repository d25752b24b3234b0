"""Hooks may ask for points near the samples of a step, are told their rows, and are asked once what they mix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fieldengine.config.scene import read_scene
from fieldengine.kinds.hook import UNCHANGED, NearSamples, Order
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.step import training_step
from fieldengine.types import Batch, Rendered, RunContext

IMAGE = """
dataset: {{type: image, path: {photo}}}
field: {{encoding: identity, activation: siren, width: 8, depth: 1}}
training: {{batch_size: 100, tile: 33}}
"""
RAYS = """
dataset: {type: procedural, views: 2, test_views: 1, size: 12}
field: {encoding: identity, direction_encoding: identity, activation: siren, width: 8, depth: 1}
renderer: {sampler: {type: stratified, n_samples: 8}}
training: {batch_size: 60, tile: 17}
"""


class Near:
    """Remembers the points that it gets."""

    def __init__(self, n: int, spread: float):
        self.points = NearSamples(n, spread)
        self.seen: list[Tensor] = []

    def penalty(self, step: int, field: nn.Module, points: Tensor) -> Tensor:
        self.seen.append(points)
        return field(points).square().mean()


class Rows:
    """Remembers which rows it was told, and of which items."""

    def __init__(self, span: Any = "item", answer: Order = None):
        self.span, self.answer = span, answer
        self.rows: list[slice] = []
        self.indices: list[Tensor] = []

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> Order:
        self.rows, self.indices, self.whole = [], [], batch.indices
        return self.answer

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
        self.rows.append(rows)
        self.indices.append(batch.indices)
        return 0.5 * cotangent


def among(points: Tensor, pixels: Tensor) -> Tensor:
    """Which of the points (n, d) are among the pixels (m, d), (n,)."""
    return (points[:, None] == pixels).all(dim=-1).any(dim=-1)


@pytest.fixture
def make(scene: Callable[..., Path], photo: Path) -> Callable[..., Fit]:
    def build(kind: str, *, transform: Any = None, regularizers: Any = ()) -> Fit:
        config = read_scene(scene(RAYS if kind == "rays" else IMAGE.format(photo=photo)))
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
        fit, _ = build_fit(config, build_dataset(config, context), context)
        fit.transform, fit.regularizers = transform, regularizers
        fit.span = transform.span if transform else "item"
        return fit

    return build


def test_points_near_the_samples_of_an_image_are_pixels_of_the_step(make: Callable[..., Fit]):
    near, rows = Near(50, 0.0), Rows()
    fit = make("image", transform=rows, regularizers=[near])
    training_step(fit, 0)
    (points,) = near.seen
    assert points.shape == (50, 2)
    grid: Any = fit.dataset.domain.grid
    pixels = grid.items(rows.whole).positions
    assert among(points, pixels).all()


@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_points_near_the_samples_of_rays_lie_along_them_within_the_spread(spread: float, make: Callable[..., Fit]):
    near = Near(200, spread)
    fit = make("rays", regularizers=[near])
    rays: list[Any] = []
    batch_of = fit.dataset.batch
    fit.dataset.batch = lambda *arguments: rays.append(batch_of(*arguments)) or rays[-1]  # pyright: ignore
    training_step(fit, 0)
    (points,) = near.seen
    assert points.shape == (200, 3)
    items = rays[0].items
    beside = points[:, None] - items.origins
    along = (beside * items.viewdirs).sum(-1, keepdim=True)
    distance = (beside - along * items.viewdirs).norm(dim=-1).amin(dim=1)
    edge = 2 * fit.dataset.domain.aabb.half_edge
    assert float(distance.max()) < max(1e-5, 4 * spread * edge)
    if spread:
        assert float(distance.mean()) > 0.2 * spread * edge


def test_points_spread_over_all_tiles_of_a_step(make: Callable[..., Fit]):
    near, rows = Near(400, 0.0), Rows()
    fit = make("image", transform=rows, regularizers=[near])
    training_step(fit, 0)
    grid: Any = fit.dataset.domain.grid
    for indices in rows.indices:
        pixels = grid.items(indices).positions
        met, share = among(near.seen[0], pixels), len(indices) / 100
        assert abs(float(met.float().mean()) - share) < 0.5 * share + 0.1


def test_a_run_without_such_a_penalty_draws_nothing_for_it(make: Callable[..., Fit]):
    fit = make("rays")
    other = make("rays", regularizers=[])
    for one in (fit, other):
        training_step(one, 0)
    assert torch.equal(fit.context.generator.get_state(), other.context.generator.get_state())


@pytest.mark.parametrize("kind", ["image", "rays"])
def test_a_transform_is_told_the_rows_of_each_tile(kind: str, make: Callable[..., Fit]):
    rows = Rows()
    training_step(make(kind, transform=rows), 0)
    assert torch.equal(torch.cat(rows.indices), rows.whole)
    for told, indices in zip(rows.rows, rows.indices, strict=True):
        assert torch.equal(rows.whole[told], indices)


def test_over_a_batch_the_rows_are_all_of_it(make: Callable[..., Fit]):
    rows = Rows("batch")
    training_step(make("image", transform=rows), 0)
    assert rows.rows == [slice(0, 100)]


def test_what_a_transform_mixes_is_read_before_training_alone(make: Callable[..., Fit]):
    rows = Rows("item")
    fit = make("image", transform=rows)
    rows.span = "batch"
    training_step(fit, 0)
    assert len(rows.rows) == 4, "tile by tile, as it said before"


@pytest.mark.parametrize("span", ["item", "batch"])
def test_a_step_that_a_transform_leaves_unchanged_is_plain_training(span: str, make: Callable[..., Fit]):
    rows = Rows(span, UNCHANGED)
    plain, left = make("image"), make("image", transform=rows)
    for fit in (plain, left):
        training_step(fit, 0)
    assert not rows.rows
    for ours, theirs in zip(left.parameters, plain.parameters, strict=True):
        assert torch.equal(ours, theirs)
