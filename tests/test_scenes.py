"""Every scene that is shipped is short, valid, and trains."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

import fieldengine
from fieldengine.config.scene import SceneConfig, read_scene

SCENES = sorted((Path(__file__).resolve().parents[1] / "scenes").glob("*.yaml"))


@pytest.fixture(params=SCENES, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def posed(tmp_path: Path) -> Path:
    """Images of a disc, 8x8 RGBA, in the layout of NeRF-synthetic: three to train on, one held out."""
    folder = tmp_path / "posed"
    for split, angles in (("train", (0.0, 2.0, 4.0)), ("test", (1.0,))):
        (folder / split).mkdir(parents=True)
        frames = []
        for i, angle in enumerate(angles):
            y, x = np.mgrid[0:8, 0:8] - 3.5
            disc = np.stack([np.full((8, 8), 200), 120 + 15 * x, 120 + 15 * y, 255 * (np.hypot(x, y) < 3)], axis=-1)
            iio.imwrite(folder / split / f"{i}.png", disc.astype(np.uint8))
            c, s = math.cos(angle), math.sin(angle)
            pose = [[-s, 0.0, c, 4 * c], [c, 0.0, s, 4 * s], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
            frames.append({"file_path": f"{split}/{i}", "transform_matrix": pose})
        (folder / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": 0.7, "frames": frames}))
    return folder


@pytest.fixture
def tiny(request: pytest.FixtureRequest, path: Path) -> dict[str, Any]:
    """Overrides that put tiny data, and few steps, into a scene; the field is trained as it is shipped."""
    data = {
        "image": lambda: {"dataset.path": str(request.getfixturevalue("photo"))},
        "mesh": lambda: {"dataset.path": str(request.getfixturevalue("ball")), "dataset.n_samples": 2000},
        "blender": lambda: {"dataset.path": str(request.getfixturevalue("posed")), "dataset.downscale": 1},
        "procedural": lambda: {"dataset.views": 3, "dataset.test_views": 1, "dataset.size": 12},
    }
    config = read_scene(path)
    kind = config.plain["dataset"]["type"]
    assert kind in data, f"{path.name} uses the data set {kind}, for which this test has no tiny data; add some"
    few = {"training.steps": 4, "training.batch_size": 64}
    if "sampler" in config.plain["renderer"]:
        few |= {"renderer.sampler.resolution": 16}
    return {**few, **data[kind]()}


def config_of(path: Path) -> SceneConfig:
    return read_scene(path)


def test_there_are_scenes():
    assert {"image", "mesh", "nerf"} <= {path.stem for path in SCENES}


def test_it_is_short(path: Path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.split("#")[0].strip()]
    assert len(lines) < 30


def test_it_says_how_to_run_it(path: Path):
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(f"fieldengine train scenes/{path.name}" in line for line in comments)


def test_it_parses_and_names_what_is_installed(path: Path):
    config = config_of(path)
    assert config.name == path.stem
    assert {plugin.kind for plugin in config.plugins} >= {"datasets", "fields", "renderers"}
    assert all(plugin.distribution == "fieldengine" for plugin in config.plugins)


@pytest.mark.usefixtures("quick_scores")
def test_it_trains_and_goes_on_to_scores(path: Path, tiny: dict[str, Any], tmp_path: Path):
    run = fieldengine.train(path, tiny, out=tmp_path / "run")
    assert run.status == "done"
    assert run.summary["steps"] == 4
    assert run.metrics
    assert all(math.isfinite(value) for value in run.metrics.values())
    assert all(bool(p.isfinite().all()) for p in run.field.parameters())
    losses = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(line["loss"]) for line in losses if "loss" in line)
