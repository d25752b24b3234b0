"""Keys left `auto`, and `fieldengine suggest`."""

from __future__ import annotations

import math
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from typer.testing import CliRunner

import fieldengine
from fieldengine.cli.app import app
from fieldengine.config import document
from fieldengine.errors import SceneError
from fieldengine.runs.train import suggest

SCENE = """
dataset: {type: image, path: image.png}
field: {encoding: identity, activation: {type: siren, omega: auto}, width: 32, depth: 2}
training: {steps: 2, batch_size: full}
evaluation: {every: 0}
"""


def scene_with_waves(folder: Path, cycles: float, size: int = 64) -> Path:
    y, x = np.mgrid[0:size, 0:size] / size
    image = 127 + 60 * np.sin(2 * math.pi * cycles * x) + 60 * np.sin(2 * math.pi * cycles * y)
    imageio.imwrite(folder / "image.png", image.astype(np.uint8))
    path = folder / "scene.yaml"
    path.write_text(SCENE)
    return path


def omega_of(run: Path) -> float:
    return document.read(run / "scene.yaml").plain()["field"]["activation"]["omega"]


def test_finer_images_get_higher_frequencies(tmp_path: Path):
    chosen = []
    for cycles in (2, 8, 16):
        folder = tmp_path / str(cycles)
        folder.mkdir()
        chosen.append(suggest(scene_with_waves(folder, cycles))[0].best.value)
    assert chosen[0] < chosen[1] < chosen[2]


def test_a_training_writes_the_number_it_chose_and_keeps_it_on_resume(tmp_path: Path):
    scene = scene_with_waves(tmp_path, 4)
    fieldengine.train(scene, out=tmp_path / "run")
    chosen = omega_of(tmp_path / "run")
    assert chosen == suggest(scene)[0].best.value
    scene_with_waves(tmp_path, 16)  # another image would be given another number; the run has its own
    more = {"training.steps": 3, "training.data_changed": "accept"}
    fieldengine.train(scene, more, out=tmp_path / "run", resume=True)
    assert omega_of(tmp_path / "run") == chosen
    assert f"field.activation.omega: {chosen:g}" in (tmp_path / "run" / "log.txt").read_text()


def test_a_chosen_number_trains_as_if_it_had_been_written(tmp_path: Path):
    scene = scene_with_waves(tmp_path, 4)
    fieldengine.train(scene, out=tmp_path / "auto")
    written = {"field.activation.omega": omega_of(tmp_path / "auto")}
    fieldengine.train(scene, written, out=tmp_path / "written")
    losses = [(tmp_path / name / "metrics.jsonl").read_text().split('"loss"')[1][:20] for name in ("auto", "written")]
    assert losses[0] == losses[1]


def test_without_an_auto_every_key_that_could_be_is_tried(tmp_path: Path):
    scene = scene_with_waves(tmp_path, 4)
    found = suggest(scene, {"field.activation": "finer"})
    assert [suggestion.key for suggestion in found] == ["field.activation.omega", "field.activation.bias"]


def test_the_command_prints_candidates_and_plots_them(tmp_path: Path):
    scene = scene_with_waves(tmp_path, 4)
    result = CliRunner().invoke(app, ["suggest", str(scene), "--out", str(tmp_path / "spectra.svg")])
    assert result.exit_code == 0, result.output
    assert "write field.activation.omega=" in result.output
    assert "cycles over the shorter side" in (tmp_path / "spectra.svg").read_text()


def test_data_without_a_spectrum_are_refused_in_words(tmp_path: Path):
    scene = scene_with_waves(tmp_path, 4)
    with pytest.raises(SceneError, match=r"auto compares spectra of images; dataset procedural is none"):
        suggest(scene, {"dataset": {"type": "procedural"}, "field": {"type": "radiance", "activation": "siren"}})
    imageio.imwrite(tmp_path / "image.png", np.full((16, 16), 90, np.uint8))
    with pytest.raises(SceneError, match="single colour"):
        suggest(scene)


def test_a_scene_without_candidates_says_which_have_some(tmp_path: Path):
    scene = scene_with_waves(tmp_path, 4)
    with pytest.raises(SceneError, match="no key of this scene has candidates"):
        suggest(scene, {"field": {"type": "signal"}})


def test_auto_is_refused_where_a_key_has_no_candidates(tmp_path: Path):
    scene = scene_with_waves(tmp_path, 4)
    with pytest.raises(SceneError, match=r"field\.width: expected a valid integer"):
        suggest(scene, {"field.width": "auto"})
