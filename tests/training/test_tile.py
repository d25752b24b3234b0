"""The trial that chooses a tile leaves no trace, and is left out where it could tell nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import fieldengine
from fieldengine.config.scene import read_scene
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training import trial as tile
from fieldengine.training.fit import Fit
from fieldengine.training.loop import Progress, state_of
from fieldengine.training.trial import SIZES, USUAL, choose_tile
from fieldengine.types import RunContext

Scene = Callable[[str], Path]
IMAGE = """
dataset: {type: image, path: photo.png}
field: {encoding: {type: hash_grid, n_levels: 2, log2_table: 8}, width: 8}
training: {batch_size: %d, seed: 1}
"""
VIEWS = """
dataset: {type: procedural, views: 4, size: 24, test_views: 1}
field: {encoding: {type: hash_grid, n_levels: 2, log2_table: 8}, width: 8}
renderer: {sampler: {type: %s}}
training: {batch_size: 2000, seed: 1}
"""


def fit_of(path: Path) -> Fit:
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(1), 1)
    config = read_scene(path)
    return build_fit(config, build_dataset(config, context), context)[0]


def flat(state: object, path: str = "") -> dict[str, object]:
    if isinstance(state, dict):
        return {k: v for key, child in state.items() for k, v in flat(child, f"{path}/{key}").items()}
    if isinstance(state, list):
        return {k: v for i, child in enumerate(state) for k, v in flat(child, f"{path}/{i}").items()}
    return {path: state}


@pytest.mark.parametrize("sampler", ["stratified", "occupancy"])
def test_a_trial_changes_nothing_about_the_training(scene: Scene, sampler: str):
    fit = fit_of(scene(VIEWS % sampler))
    before = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in flat(state_of(fit, Progress())).items()}
    chosen = choose_tile(fit)
    after = flat(state_of(fit, Progress()))
    assert chosen in {*SIZES, USUAL["cpu"]}
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = torch.equal(value, after[name]) if isinstance(value, torch.Tensor) else value == after[name]
        assert same, name
    assert all(parameter.grad is None for parameter in fit.parameters)


def test_the_quickest_size_per_item_is_taken(scene: Scene, photo: Path, monkeypatch: pytest.MonkeyPatch):
    fit = fit_of(scene(IMAGE % 384))
    fit.batch_size = 100_000
    seconds = {1024: 1.0, 2048: 1.5, 4096: 2.8, 8192: 6.5, 16384: 99.0}  # best per item: 4096
    monkeypatch.setattr(tile, "_seconds", lambda fit, n: seconds[n])
    assert choose_tile(fit) == 4096


@pytest.mark.parametrize("n", [1, 384])
def test_a_batch_that_is_one_small_tile_is_not_tried(
    scene: Scene, photo: Path, monkeypatch: pytest.MonkeyPatch, n: int
):
    monkeypatch.setattr(tile, "_seconds", None)
    assert choose_tile(fit_of(scene(IMAGE % n))) == USUAL["cpu"]


def test_a_run_says_which_tile_it_took_and_keeps_it_when_it_is_resumed(
    scene: Scene, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, out = scene(IMAGE % 384), tmp_path / "run"
    monkeypatch.setattr("fieldengine.runs.train.choose_tile", lambda fit: 100)
    run = fieldengine.train(path, {"training.steps": 3}, out=out)
    assert run.summary["tile"] == 100
    monkeypatch.setattr("fieldengine.runs.train.choose_tile", lambda fit: 200)
    assert fieldengine.train(path, {"training.steps": 6}, out=out, resume=True).summary["tile"] == 100
