"""A sampler, a gradient transform and a regulariser in one scene, on an image, a mesh and views."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

import fieldengine
from fieldengine.errors import SceneError

DATA = {
    "image": "{type: image, path: photo.png}",
    "mesh": "{type: mesh, path: box.ply, n_samples: 2000}",
    "views": "{type: procedural, views: 2, test_views: 1, size: 16}",
}
SAMPLER = {"image": "", "mesh": ", candidates: 400", "views": ", candidates: 300"}
KAR = "{type: kar, weight: 0.01, grid: 8, keys: 32, rank: 8}"


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    iio.imwrite(tmp_path / "photo.png", np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8))
    trimesh.creation.box().export(tmp_path / "box.ply")
    return tmp_path / "scene.yaml"


@pytest.mark.usefixtures("quick_scores")
@pytest.mark.parametrize("kind", DATA)
def test_three_kinds_of_hooks_train_together_and_resume_to_the_same_bits(kind: str, scene: Path, tmp_path: Path):
    hooks = f"[{{type: nint, fraction: 0.5{SAMPLER[kind]}}}, {{type: iga, balanced: 3, patch: 4}}, {KAR}]"
    scene.write_text(
        f"dataset: {DATA[kind]}\nfield: {{encoding: identity, activation: siren, width: 16}}\n"
        f"training: {{steps: 5, batch_size: 200, tile: 64, hooks: {hooks}}}\nevaluation: {{every: 0}}\n"
    )
    whole = fieldengine.train(scene, out=tmp_path / "whole")
    fieldengine.train(scene, {"training.steps": 5, "training.max_seconds": 1e-9}, out=tmp_path / "part")
    again = fieldengine.train(scene, out=tmp_path / "part", resume=True)
    parameters = zip(whole.field.parameters(), again.field.parameters(), strict=True)
    assert all(torch.equal(one, other) and bool(one.isfinite().all()) for one, other in parameters)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("[nint, evos]", '"nint" and "evos" each choose'),
        ("[{type: iga, patch: 4, balanced: 3}, {type: nint, scoring: batch}]", '"iga" and "nint" each change'),
    ],
)
def test_two_of_one_kind_are_refused_with_the_reason(pair: str, message: str, scene: Path, tmp_path: Path):
    scene.write_text(
        f"dataset: {DATA['image']}\nfield: {{encoding: identity}}\ntraining: {{steps: 1, hooks: {pair}}}\n"
    )
    with pytest.raises(SceneError, match=message):
        fieldengine.train(scene, out=tmp_path / "run")
