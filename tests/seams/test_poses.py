"""Data sets may own parameters: gradients reach poses through rays, although a batch is cut into tiles."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fieldengine.config.scene import read_scene
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.loop import Progress, restore, state_of
from fieldengine.training.step import training_step
from fieldengine.types import RunContext

STRANGER = """
    from dataclasses import dataclass, replace

    import torch
    from torch import nn

    from fieldengine.api import AdamSettings, DatasetOptions, Rays, RunContext


    @dataclass(frozen=True)
    class Refined:
        '''Another data set whose cameras are turned around the origin, and turned back while the field trains.'''

        default_field = "radiance"
        default_renderer = "volume"

        inner: DatasetOptions
        degrees: float = 0.0
        '''of the disturbance'''
        lr_scale: float = 0.1

        def build(self, *, context):
            return RefinedDataset(self, self.inner.build(context=context))


    class RefinedDataset(nn.Module):
        surface = None

        def __init__(self, options, inner):
            super().__init__()
            self.inner, self.domain, self.n_items, self.splits = inner, inner.domain, inner.n_items, inner.splits
            n = inner.domain.n_cameras
            axes = torch.nn.functional.normalize(torch.randn(n, 3, generator=torch.Generator().manual_seed(5)), dim=-1)
            self.register_buffer("disturbance", axes * options.degrees * 3.14159265 / 180)
            self.turns = nn.Parameter(torch.zeros(n, 3))
            self.adam = AdamSettings(lr_scale=options.lr_scale)

        def rotations(self):
            return torch.linalg.matrix_exp(cross(self.turns)) @ torch.linalg.matrix_exp(cross(self.disturbance))

        def batch(self, indices, generator):
            batch = self.inner.batch(indices, generator)
            turn = self.rotations()[batch.items.camera_indices]
            origins, directions = ((turn @ v[:, :, None])[:, :, 0] for v in (batch.items.origins, batch.items.viewdirs))
            return replace(batch, items=replace(batch.items, origins=origins, viewdirs=directions))

        def views(self, split):
            return self.inner.views(split)

        def notes(self):
            return []


    def cross(v):
        o = torch.zeros_like(v[:, 0])
        x, y, z = v.unbind(-1)
        return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).view(-1, 3, 3)
"""
SMALL = """
dataset: {type: refined, inner: {type: procedural, views: 4, test_views: 1, size: 12}, degrees: 2}
field: {encoding: {type: hash_grid, n_levels: 3, log2_table: 10, finest: 32, interpolation: smoothstep}, width: 16}
renderer: {sampler: {type: stratified, n_samples: 16}}
training: {steps: 6, batch_size: 100, lr: 1.0e-2, seed: 3, tile: 4096, checkpoint_every: 3}
"""
WHOLE = """
dataset:
  type: refined
  degrees: 2
  inner: {type: procedural, views: 20, test_views: 1, size: 128, random_background: false}
field:
  encoding:
    type: progressive
    encoding: {type: hash_grid, n_levels: 6, log2_table: 15, coarsest: 4, finest: 64, interpolation: smoothstep}
    start: 2
    until: 0.5
  direction_encoding: identity
  width: 64
  depth: 2
  color_depth: 1
renderer: {sampler: {type: occupancy, resolution: 64, steps: 192, samples_per_step: 32768}}
training: {steps: 3000, batch_size: 2048, lr: 1.0e-2, loss: smooth_l1, seed: 0}
"""

Make = Callable[..., Fit]


@pytest.fixture
def make(install: Any, scene: Callable[[str], Path]) -> Make:
    install(STRANGER, {"datasets/refined": "Refined"})
    path = scene(SMALL)

    def build(**overrides: Any) -> Fit:
        config = read_scene(path, {f"training.{key}": value for key, value in overrides.items()})
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(3), 3)
        return build_fit(config, build_dataset(config, context), context)[0]

    return build


def turns(fit: Fit) -> Any:
    return fit.dataset.turns  # pyright: ignore[reportAttributeAccessIssue]


def stilled(fit: Fit) -> Fit:
    """Samples without jitter, which draws other numbers for other tiles."""
    render = fit.renderer.render

    def still(field: Any, items: Any, *, background: Any, generator: Any) -> Any:
        return render(field, items, background=background, generator=None)

    fit.renderer.render = still  # pyright: ignore[reportAttributeAccessIssue]
    return fit


def test_gradients_of_poses_do_not_depend_on_the_tile(make: Make):
    found = {}
    for tile in (4096, 33, 7):
        fit = stilled(make(tile=tile))
        training_step(fit, 0)
        found[tile] = turns(fit).grad.clone()
    assert found[4096].abs().max() > 0
    for tile in (33, 7):
        torch.testing.assert_close(found[tile], found[4096], rtol=1e-4, atol=1e-5 * float(found[4096].abs().max()))


def test_gradients_of_poses_are_those_of_one_graph(make: Make):
    stepped, whole = stilled(make(tile=33)), stilled(make())
    training_step(stepped, 0)
    indices = torch.randint(whole.dataset.n_items, (100,), generator=whole.context.generator)
    batch = whole.dataset.batch(indices, whole.context.generator)
    rendered = whole.renderer.render(whole.field, batch.items, background=batch.background, generator=None)
    whole.loss(rendered.values, batch.targets).mean().backward()
    torch.testing.assert_close(turns(stepped).grad, turns(whole).grad, rtol=1e-4, atol=1e-7)


def test_an_order_that_a_hook_asks_for_moves_no_gradient_to_another_pose(make: Make):
    class Shuffles:
        span = "item"

        def prepare(self, step: int, field: Any, batch: Any) -> Tensor:
            return torch.randperm(len(batch), generator=torch.Generator().manual_seed(1))

        def adjust(self, cotangent: Tensor, batch: Any, rendered: Any, rows: slice) -> Tensor:
            return cotangent

    plain, shuffled = stilled(make(tile=33)), stilled(make(tile=33))
    shuffled.transform = Shuffles()  # pyright: ignore[reportAttributeAccessIssue]
    for fit in (plain, shuffled):
        training_step(fit, 0)
    torch.testing.assert_close(turns(shuffled).grad, turns(plain).grad, rtol=1e-4, atol=1e-6)


def test_parameters_of_data_are_trained_and_resumed_to_the_bit(make: Make, tmp_path: Path):
    fit = make()
    training_step(fit, 0)
    assert turns(fit).abs().max() > 0
    state = copy.deepcopy(state_of(fit, Progress(1)))
    training_step(fit, 1)
    again = make()
    restore(again, state, tmp_path)
    training_step(again, 1)
    assert torch.equal(turns(again), turns(fit))


def errors(rotations: Tensor) -> Tensor:
    """Degrees that each of the turns (k, 3, 3) is off, but for one turn that all of them share."""
    u, _, v = torch.linalg.svd(rotations.sum(0))
    shared = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ v))])) @ v
    off = shared.T @ rotations
    trace = off.diagonal(dim1=1, dim2=2).sum(-1)
    return ((trace - 1) / 2).clamp(-1, 1).acos() * 180 / math.pi


@pytest.mark.slow
def test_twenty_poses_that_are_two_degrees_off_come_back_to_a_fifth_of_one(install: Any, scene: Any):
    install(STRANGER, {"datasets/refined": "Refined"})
    config = read_scene(scene(WHOLE))
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
    fit, _ = build_fit(config, build_dataset(config, context), context)
    data: Any = fit.dataset
    before = errors(data.rotations().detach())
    # Turning cameras around the origin is nearly a stretch of the scene, which a blurred field cannot tell apart: poses
    # wait until there is something to see, and the learning rate stays high enough to undo what was turned too far.
    for step in range(config.training.steps):
        done = step / config.training.steps
        for module in fit.field.modules():
            if hasattr(module, "advance"):
                module.advance(done)
        for group in fit.optimizer.param_groups:
            waits = done < 0.1 and any(parameter is data.turns for parameter in group["params"])
            group["lr"] = 0.0 if waits else group["base_lr"] * 0.2**done
        training_step(fit, step)
    after = errors(data.rotations().detach())
    assert float(before.mean()) > 1.5
    assert float(after.mean()) < 0.2
