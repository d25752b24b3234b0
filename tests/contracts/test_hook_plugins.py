"""What every installed hook promises: every kind of data, every field, every encoding, activation and parameterization.

Each trains, the same again from the same seed, and goes on from its state as if nothing had been between; or is refused
before training, for a reason that is in the list below.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from fieldengine.config.scene import read_scene
from fieldengine.errors import FieldEngineError, RunError
from fieldengine.plugins.registry import Registry
from fieldengine.precision import matrix_products
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.loop import Progress, restore, state_of
from fieldengine.training.step import training_step
from fieldengine.types import RunContext

REGISTRY = Registry()
GRID: dict[str, Any] = {"n_levels": 2, "log2_table": 8, "finest": 32}
# keys that keep a plugin small, or that have no default
KEYS: dict[str, dict[str, Any]] = {
    "hash_grid": GRID,
    "dense_grid": {"resolution": 8},
    "concat": {"parts": ["identity", "frequency"]},
    "progressive": {"encoding": {"type": "hash_grid", **GRID}},
    "iga": {"balanced": 2, "patch": 3},
    "kar": {"grid": 6, "keys": 8, "queries": 10, "rank": 4},
    "nint": {"fraction": 0.5},
}
SMALL: dict[str, Any] = {"width": 8, "depth": 1, "encoding": "identity", "activation": "siren"}
DATA: dict[str, dict[str, Any]] = {
    "image": {"type": "image", "path": "photo.png"},
    "mesh": {"type": "mesh", "path": "ball.ply", "n_samples": 1000},
    "views": {"type": "procedural", "views": 2, "test_views": 1, "size": 10},
}
FIELDS = {"image": "signal", "mesh": "surface", "views": "radiance"}
STEPS = 2
# what cannot be, and what the message says of it: hook, data, part of a field
REFUSED = {
    ("egra|evos|expansive|soft_mining", "mesh|views", ".*"): "image",
    (".*", "image", "spherical_harmonics"): "3-D",
}


def written(name: str) -> dict[str, Any]:
    return {"type": name, **KEYS.get(name, {})}


def parts_of_fields() -> list[dict[str, Any]]:
    """Field blocks that differ from a small SIREN in one plugin each."""
    kinds = {"encoding": "encodings", "activation": "activations", "parameterization": "parameterizations"}
    return [{key: written(name)} for key, kind in kinds.items() for name in REGISTRY.names(kind)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hooks")
    y, x = np.mgrid[0:8, 0:12]
    iio.imwrite(path / "photo.png", np.stack([20 * x, 30 * y, (7 * x * y) % 255], axis=-1).astype(np.uint8))
    trimesh.creation.icosphere(subdivisions=1).export(path / "ball.ply")
    return path


def made(folder: Path, hook: dict[str, Any], data: str, field: dict[str, Any]) -> Fit:
    block = {"type": FIELDS[data], **SMALL, **field}
    if block["type"] == "filter_network":
        block = {key: block[key] for key in ("type", "width", "depth")}
    plain: dict[str, Any] = {
        "dataset": DATA[data],
        "field": block,
        "training": {"steps": 9, "batch_size": 90, "tile": 40, "hooks": [hook]},
    }
    if data == "views":
        plain["renderer"] = {"sampler": {"type": "stratified", "n_samples": 8}}
    (folder / "scene.yaml").write_text(json.dumps(plain))
    scene = read_scene(folder / "scene.yaml")
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
    with torch.autocast("cpu", enabled=False):  # which only training asks for
        return build_fit(scene, build_dataset(scene, context), context)[0]


def weights(fit: Fit) -> Tensor:
    return torch.cat([p.detach().flatten() for p in fit.parameters])


def went_on(fit: Fit, first: int, last: int) -> Tensor:
    for step in range(first, last):
        training_step(fit, step)
    return weights(fit)


def refusal(hook: str, data: str, field: dict[str, Any]) -> str | None:
    part = next((block["type"] for block in field.values() if isinstance(block, dict)), "")
    fits = [text for keys, text in REFUSED.items() if all(map(re.fullmatch, keys, (hook, data, part)))]
    return fits[0] if fits else None


def check(folder: Path, hook: str, data: str, field: dict[str, Any]) -> None:
    """It trains, and what comes next is decided by the state alone, so by the seed; or it is refused."""
    expected = refusal(hook, data, field)
    if expected:
        with pytest.raises(FieldEngineError, match=expected):
            made(folder, written(hook), data, field)
        return
    fit = made(folder, written(hook), data, field)
    start = weights(fit)
    went_on(fit, 0, STEPS)
    state = copy.deepcopy(state_of(fit, Progress(STEPS)))
    whole = went_on(fit, STEPS, 2 * STEPS)
    assert bool(whole.isfinite().all())
    assert not torch.equal(whole, start)
    resumed = made(folder, written(hook), data, field)
    restore(resumed, state, folder)
    assert torch.equal(went_on(resumed, STEPS, 2 * STEPS), whole), "its state is all of it"


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("hook", REGISTRY.names("hooks"))
def test_it_trains_each_kind_of_data_with_each_field(hook: str, data: str, folder: Path):
    check(folder, hook, data, {})
    check(folder, hook, data, {"encoding": written("hash_grid"), "activation": "relu"})
    if data == "image":
        check(folder, hook, data, {"type": "filter_network"})


def test_a_checkpoint_without_the_state_of_a_hook_is_damaged(folder: Path):
    fit = made(folder, written("nint"), "image", {})
    with pytest.raises(RunError, match="is damaged: its state cannot be put back"):
        restore(fit, {**state_of(fit, Progress(1)), "hooks": {}}, folder)


@pytest.mark.parametrize("data", ["image", "views"])
@pytest.mark.parametrize("hook", REGISTRY.names("hooks"))
def test_it_trains_with_values_of_half_precision(hook: str, data: str, folder: Path):
    if refusal(hook, data, {}) is None:
        with matrix_products("half", torch.device("cpu")):
            check(folder, hook, data, {"width": 64})


@pytest.mark.parametrize("name", REGISTRY.names("parameterizations"))
@pytest.mark.parametrize("hook", ["iga", "nint", "kar"])  # of rays, what the field's parts count for is up to these
def test_it_trains_rays_with_each_parameterization(hook: str, name: str, folder: Path):
    check(folder, hook, "views", {"parameterization": written(name)})


@pytest.mark.parametrize("field", parts_of_fields(), ids=lambda field: "-".join(b["type"] for b in field.values()))
@pytest.mark.parametrize("hook", REGISTRY.names("hooks"))
def test_it_trains_each_part_of_a_field(hook: str, field: dict[str, Any], folder: Path):
    check(folder, hook, "image", field)
