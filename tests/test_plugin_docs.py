"""Every plugin of docs/plugins.md is installed as it is written there, and used in a scene."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import fieldengine
from fieldengine.cameras.camera import Camera
from fieldengine.cameras.restore import camera_model
from fieldengine.plugins.registry import Registry
from tests.strangers import Install

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
IMAGE = "dataset: {{type: image, path: {photo}}}\nfield: {{encoding: {encoding}, activation: {activation}, width: 8}}\n"
VIEWS = "dataset: {type: procedural, views: 2, test_views: 1, size: 12}\nfield: {encoding: frequency, width: 8}\n"
TRAINING = "training: {steps: 4, batch_size: 64, log_every: 1}\n"


@dataclass(frozen=True)
class Sample:
    """A plugin of the page: its file, and its entry point."""

    code: str
    kind: str
    name: str
    module: str


def samples() -> Iterator[Sample]:
    blocks = re.findall(r"```(python|toml)\n(.*?)```", TEXT, re.DOTALL)
    code = ""
    for language, block in blocks:
        if language == "python":
            code = block
            continue
        kind, name, module = re.findall(r'"fieldengine\.(\w+)"\]\n(\w+) = "(\w+):\w+"', block)[0]
        yield Sample(code, kind, name, module)


SAMPLES = {sample.name: sample for sample in samples()}


@pytest.fixture
def installed(install: Install) -> None:
    """All of the page's plugins, each in a distribution of its own."""
    for sample in SAMPLES.values():
        (cls,) = re.findall(rf'^{sample.name} = "{sample.module}:(\w+)"$', TEXT, re.MULTILINE)
        install(sample.code, {f"{sample.kind}/{sample.name}": cls}, name=sample.module, module=sample.module)


def test_the_page_shows_a_plugin_of_every_kind_that_people_add():
    added = {"encodings", "activations", "hooks", "ray_samplers", "renderers", "cameras", "operators", "metrics"}
    assert added <= {sample.kind for sample in SAMPLES.values()}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if sample.kind != "cameras"])
def test_a_scene_that_names_it_trains(name: str, scene: Any, photo: Path, tmp_path: Path):
    kind = SAMPLES[name].kind
    parts = {"encoding": name if kind == "encodings" else "frequency"}
    parts["activation"] = name if kind == "activations" else "relu"
    text = {
        "ray_samplers": f"{VIEWS}renderer: {{sampler: {{type: {name}, n_samples: 8}}}}\n{TRAINING}",
        "renderers": f"{VIEWS}renderer: {{type: {name}, sampler: {{type: stratified, n_samples: 8}}}}\n{TRAINING}",
        "operators": IMAGE.format(photo=photo, **parts) + f"operator: {name}\n{TRAINING}",
        "metrics": IMAGE.format(photo=photo, **parts) + f"evaluation: {{metrics: [psnr, {name}]}}\n{TRAINING}",
        "hooks": IMAGE.format(photo=photo, **parts) + TRAINING.replace("}", f", hooks: {name}}}"),
    }.get(kind, IMAGE.format(photo=photo, **parts) + TRAINING)
    run = fieldengine.train(scene(text), out=tmp_path / "run")
    used = {(plugin["kind"], plugin["name"], plugin["distribution"]) for plugin in run.summary["plugins"]}
    assert (kind, name, SAMPLES[name].module) in used
    if kind == "metrics":
        assert run.metrics[name] > 0
    if name == "crisp":
        assert '"entropy": ' in (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.usefixtures("installed")
def test_its_camera_model_makes_rays_that_come_back_to_their_pixels():
    model = camera_model("division", Registry())
    pose = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))
    camera = Camera(pose, 30, 40, 35.0, 35.0, 20.0, 15.0, name="division", parameters=(-0.2,), model=model)
    pixels = torch.arange(1200)
    directions = camera.items(pixels).viewdirs * torch.tensor([1.0, -1.0, -1.0])
    x, y = (35.0 * model.project(directions, torch.full((1200, 1), -0.2)) + torch.tensor([20.0, 15.0])).unbind(-1)
    torch.testing.assert_close(x, pixels % 40 + 0.5, atol=1e-4, rtol=0)
    torch.testing.assert_close(y, pixels // 40 + 0.5, atol=1e-4, rtol=0)
