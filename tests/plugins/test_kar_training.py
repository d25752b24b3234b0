"""Kernel alignment regularisation over every kind of field, beside its training, and across a resume."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fieldengine
from fieldengine.config.scene import read_scene
from fieldengine.errors import FieldEngineError
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training import checkpoint
from fieldengine.training.fit import Fit
from fieldengine.training.step import training_step
from fieldengine.types import Aabb, RunContext
from fieldengine_plugins.hooks.kar import values_of

MODES = ["l2", "l2sq", "dirichlet"]
DATA = {
    "image": "dataset: {{type: image, path: {photo}}}",
    "mesh": "dataset: {{type: mesh, path: {ball}, n_samples: 1000}}",
    "procedural": "dataset: {{type: procedural, views: 2, test_views: 1, size: 8}}",
}
FIELDS = {
    "image": "field: {encoding: identity, activation: {type: siren, omega: 5}, width: 8, depth: 1}",
    "mesh": "field: {encoding: identity, activation: {type: siren, omega: 5}, width: 8, depth: 1}",
    "procedural": "field: {encoding: {type: hash_grid, n_levels: 2, log2_table: 8, finest: 32}, width: 8}\n"
    "renderer: {sampler: {type: stratified, n_samples: 8}}",
}
Make = Callable[..., Fit]


@pytest.fixture
def make(photo: Path, ball: Path, scene: Callable[..., Path]) -> Callable[..., Path]:
    """A tiny scene of one kind of data with this hook."""

    def write(kind: str, hook: str) -> Path:
        text = "training: {steps: 6, batch_size: 40, tile: 64, lr: 1.0e-2, checkpoint_every: 3, hooks: [" + hook + "]}"
        return scene("\n".join([DATA[kind].format(photo=photo, ball=ball), FIELDS[kind], text]), f"{kind}.yaml")

    return write


def fit_of(path: Path) -> Fit:
    config = read_scene(path)
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
    return build_fit(config, build_dataset(config, context), context)[0]


# -------------------------------------------------------------------------------------------------- over all fields


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", list(DATA))
def test_the_gradient_reaches_the_field_and_every_weight_of_g(make: Callable[..., Path], kind: str, mode: str):
    fit = fit_of(make(kind, f"{{type: kar, mode: {mode}, grid: 6, keys: 30, rank: 5}}"))
    module: Any = fit.regularizers[0]
    module.penalty(0, fit.field, fit.lattice(module.points.per_axis)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in module.parameters())
    assert any(p.grad is not None and p.grad.any() for p in fit.field.parameters())
    assert all(p.grad.isfinite().all() for p in fit.field.parameters() if p.grad is not None)
    assert {id(p) for p in module.parameters()} <= {id(p) for p in fit.parameters}
    before = copy.deepcopy(module.state_dict())
    training_step(fit, 0)
    assert any(not torch.equal(before[name], now) for name, now in module.state_dict().items())


def test_distances_are_in_half_edges_and_densities_behind_a_logarithm():
    box = Aabb.of([0.0, 0.0, 0.0], [4.0, 2.0, 2.0])

    class Solid(nn.Module):
        def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x[:, 0] - 1.0, x[:, :0]

    class Fog(nn.Module):
        def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
            unit = box.to_unit(x)
            return torch.where((unit.abs() <= 1).all(dim=-1), 7.0, 0.0), x[:, :0]

        def rgb(self, features: Tensor, viewdirs: Tensor, normals: Tensor | None = None) -> Tensor:
            return viewdirs

    x = box.grid(5)
    torch.testing.assert_close(values_of(Solid(), box, x), (x[:, :1] - 1.0) / 2.0)
    torch.testing.assert_close(values_of(Fog(), box, x), torch.full((125, 1), 15.0).log())


def test_a_field_under_the_penalty_becomes_smoother_where_nothing_is_known(make: Callable[..., Path]):
    fit = fit_of(make("image", "{type: kar, mode: l2sq, weight: 10, grid: 8, keys: null}"))
    module: Any = fit.regularizers[0]
    before = module.penalty(0, fit.field, fit.lattice(module.points.per_axis)).item()
    for step in range(40):
        training_step(fit, step)
    assert module.penalty(0, fit.field, fit.lattice(module.points.per_axis)).item() < 0.5 * before


# ------------------------------------------------------------------------------------------------ resume, refusals


@pytest.mark.parametrize("mode", ["l2", "dirichlet"])
def test_a_resumed_run_ends_with_the_same_bits(mode: str, make: Callable[..., Path], tmp_path: Path):
    path = make("image", f"{{type: kar, mode: {mode}, grid: 8, keys: 20, rank: 6}}")
    whole, half = tmp_path / "whole", tmp_path / "half"
    fieldengine.train(path, out=whole)
    shutil.copytree(whole, half)
    shutil.rmtree(half / "checkpoints" / "step_00000006")
    fieldengine.train(path, out=half, resume=True)
    first, second = (checkpoint.load(folder / "checkpoints" / "step_00000006")["training"] for folder in (whole, half))
    for part in ("field", "hooks"):
        ours, theirs = first[part], second[part]
        if part == "hooks":
            ours, theirs = next(iter(ours.values())), next(iter(theirs.values()))
        assert ours
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("grid: 1", "grid: expected greater than or equal to 2, found 1"),
        ("rank: 0", "rank: expected greater than or equal to 1, found 0"),
        ("keys: 1", "keys: expected greater than or equal to 2"),
        ("draw: near", "expected one of window, anywhere"),
        ("mode: l1", "expected one of l2, l2sq, dirichlet"),
        ("weight: 0", "weight: expected greater than 0"),
    ],
)
def test_what_cannot_work_is_refused_in_words(hook: str, said: str, make: Callable[..., Path], tmp_path: Path):
    with pytest.raises(FieldEngineError) as caught:
        fieldengine.train(make("image", f"{{type: kar, {hook}}}"), out=tmp_path / "run")
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()
