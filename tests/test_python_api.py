"""The engine from Python: train, load, a field to call, its scores, and an API that is documented."""

from __future__ import annotations

import inspect
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fieldengine
from fieldengine import api
from fieldengine.errors import FieldEngineError, RunError, SceneError
from fieldengine.metrics import surface as metrics
from fieldengine.runs import train as fitting
from fieldengine.training import checkpoint

FIELD = "field: {encoding: identity, activation: {type: finer, omega: 5, first_omega: 5}, width: 8, depth: 1}\n"
TRAINING = "training: {steps: 4, batch_size: 64, lr: 1.0e-2}\n"


@pytest.fixture
def path(photo: Path, scene: Callable[[str], Path]) -> Path:
    return scene(f"dataset: {{type: image, path: {photo}}}\n{FIELD}{TRAINING}")


def weights(run: fieldengine.Run) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.field.parameters()])


def test_a_scene_becomes_a_field_that_can_be_called_and_scores(path: Path, tmp_path: Path):
    run = fieldengine.train(str(path), {"training.steps": 7}, out=str(tmp_path / "run"))
    values = run.field(torch.zeros(5, 2))
    assert values.shape == (5, 3)
    assert run.summary["steps"] == 7
    assert run.metrics["psnr"] == run.summary["metrics"]["psnr"] > 0
    assert run.status == "done"
    assert run.folder == tmp_path / "run"
    assert run.domain.task == "image"


def test_what_a_plugin_refuses_once_it_knows_the_data_is_said_with_its_line(
    photo: Path, scene: Callable[[str], Path], tmp_path: Path
):
    hooks = "training:\n  steps: 4\n  hooks:\n    - nint\n    - {type: iga, patch: 99}\n"
    path = scene(f"dataset: {{type: image, path: {photo}}}\n{FIELD}{hooks}")
    with pytest.raises(SceneError) as caught:
        fieldengine.train(path, out=tmp_path / "run")
    assert str(caught.value).startswith(f"{path}:7: training.hooks.1 (iga): patch 99 is larger than the image")
    with pytest.raises(SceneError) as caught:
        fieldengine.train(path, ["training.hooks={type: iga, patch: 98}"], out=tmp_path / "run")
    said = 'override "training.hooks={type: iga, patch: 98}": training.hooks.0 (iga): patch 98 is larger'
    assert str(caught.value).startswith(said)


def test_the_field_learns_the_image(path: Path, tmp_path: Path):
    short, long = (
        fieldengine.train(path, {"training.steps": n, "training.schedule.decay": "constant"}, out=tmp_path / str(n))
        for n in (1, 300)
    )
    assert long.metrics["psnr"] > short.metrics["psnr"] + 6


def test_points_are_in_the_datas_own_coordinates(
    ball: Path, scene: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A field fitted to a ball of radius 2 around (10, 0, -5) says so in these units."""
    for name, value in (("CHAMFER_RESOLUTION", 12), ("SURFACE_POINTS", 300), ("IOU_POINTS", 2000)):
        monkeypatch.setattr(metrics, name, value)
    monkeypatch.setattr(fitting, "show", lambda *arguments: None)
    text = f"dataset: {{type: mesh, path: {ball}, n_samples: 4000}}\n{FIELD.replace('width: 8', 'width: 32')}"
    run = fieldengine.train(scene(text + "training: {steps: 300, batch_size: 500, lr: 1.0e-2}"), out=tmp_path / "run")
    x = torch.tensor([[12.0, 0.0, -5.0], [10.0, 2.3, -5.0], [10.0, 0.0, -6.0]])
    with torch.no_grad():
        distance = run.field(x)
    torch.testing.assert_close(distance, torch.tensor([0.0, 0.3, -1.0]), rtol=0, atol=0.35)
    assert run.metrics["iou"] > 0.8
    assert run.metrics["chamfer"] < 0.05
    run.export("mesh", tmp_path / "again.ply", resolution=24)
    import trimesh

    bounds = trimesh.load(tmp_path / "again.ply").bounds
    np.testing.assert_allclose(bounds, [[8, -2, -7], [12, 2, -3]], atol=0.35)


def test_the_summary_has_what_the_contract_lists(path: Path, tmp_path: Path):
    run = fieldengine.train(path, out=tmp_path / "run")
    wanted = [
        "scene",
        "task",
        "status",
        "steps",
        "seconds_train",
        "seconds_total",
        "steps_per_second",
        "peak_memory_mb",
        "n_parameters",
        "device",
        "threads",
        "seed",
        "versions",
        "plugins",
        "metrics",
    ]
    assert set(wanted) <= set(run.summary)
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == run.summary
    assert run.summary["n_parameters"] == sum(p.numel() for p in run.field.parameters())
    assert (run.summary["scene"], run.summary["task"], run.summary["device"]) == ("scene", "image", "cpu")
    assert 0 < run.summary["seconds_train"] <= run.summary["seconds_total"]
    assert run.summary["peak_memory_mb"] > 10
    kinds = {(plugin["kind"], plugin["name"]) for plugin in run.summary["plugins"]}
    assert {("datasets", "image"), ("fields", "signal"), ("encodings", "identity"), ("activations", "finer")} <= kinds
    assert all(plugin["distribution"] == "fieldengine" and plugin["version"] for plugin in run.summary["plugins"])


def test_a_run_folder_has_its_parts(path: Path, tmp_path: Path):
    fieldengine.train(path, out=tmp_path / "run")
    parts = {part.name for part in (tmp_path / "run").iterdir()}
    assert parts == {"scene.yaml", "data.json", "metrics.jsonl", "summary.json", "checkpoints", "images", "log.txt"}
    assert [image.suffix for image in (tmp_path / "run" / "images").iterdir()] == [".png"]


def test_the_scene_in_the_run_folder_trains_the_same_run_again(path: Path, tmp_path: Path):
    first = fieldengine.train(path, {"training.seed": 5}, out=tmp_path / "first")
    again = fieldengine.train(tmp_path / "first" / "scene.yaml", out=tmp_path / "again")
    assert torch.equal(weights(first), weights(again))
    assert (tmp_path / "first" / "scene.yaml").read_text() == (tmp_path / "again" / "scene.yaml").read_text()


def test_overrides_may_be_a_mapping_or_texts(path: Path, tmp_path: Path):
    mapping = {"training.steps": 3, "field.width": 5, "training.schedule": {"decay": "cosine"}}
    texts = ["training.steps=3", "field.width=5", "training.schedule={decay: cosine}"]
    one, other = (
        fieldengine.train(path, changes, out=tmp_path / name) for name, changes in (("a", mapping), ("b", texts))
    )
    assert torch.equal(weights(one), weights(other))
    assert one.summary["steps"] == 3


def test_without_a_folder_runs_are_numbered_and_never_overwritten(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folders = [fieldengine.train(path, {"training.steps": 1}).folder for _ in range(3)]
    assert folders == [Path("runs/scene"), Path("runs/scene-2"), Path("runs/scene-3")]
    with pytest.raises(RunError, match="is not overwritten"):
        fieldengine.train(path, out="runs/scene")


def test_a_loaded_run_is_the_trained_one(path: Path, tmp_path: Path):
    run = fieldengine.train(path, out=tmp_path / "run")
    for loaded in (fieldengine.load(tmp_path / "run"), fieldengine.load(str(tmp_path / "run"), device="cpu")):
        assert torch.equal(weights(loaded), weights(run))
        assert loaded.metrics == run.metrics
        assert loaded.summary == run.summary
        assert loaded.folder == tmp_path / "run"


def test_a_run_can_be_loaded_when_its_data_is_gone_but_not_scored(path: Path, photo: Path, tmp_path: Path):
    fieldengine.train(path, out=tmp_path / "run")
    photo.unlink()
    loaded = fieldengine.load(tmp_path / "run")
    assert loaded.field(torch.zeros(1, 2)).isfinite().all()
    with pytest.raises(FieldEngineError, match=r"photo\.png: no such file"):
        loaded.evaluate()


def test_evaluating_anew_gives_the_scores_of_the_training(path: Path, tmp_path: Path):
    run = fieldengine.train(path, out=tmp_path / "run")
    assert fieldengine.load(tmp_path / "run").evaluate("test") == pytest.approx(run.metrics, rel=1e-6)
    assert run.evaluate("train")["psnr"] == pytest.approx(run.metrics["psnr"], rel=1e-6)


def test_views_are_scored_split_by_split(scene: Callable[[str], Path], tmp_path: Path):
    text = (
        "dataset: {type: procedural, views: 2, test_views: 1, size: 12}\n"
        "field: {encoding: {type: hash_grid, n_levels: 2, log2_table: 8, finest: 32}, width: 8}\n"
        "renderer: {sampler: {type: stratified, n_samples: 8}}\n"
    )
    run = fieldengine.train(scene(text + TRAINING), out=tmp_path / "run")
    assert set(run.metrics) == {"psnr", "ssim", "test_psnr", "test_ssim"}
    train = run.evaluate("train")
    assert set(train) == {"psnr", "ssim", "train_psnr", "train_ssim"}
    assert train["train_psnr"] != run.metrics["test_psnr"]
    with pytest.raises(RunError, match='no split "val"'):
        run.evaluate("val")


def test_a_run_renders_and_exports_itself(path: Path, tmp_path: Path):
    run = fieldengine.train(path, out=tmp_path / "run")
    assert run.render() == tmp_path / "run" / "images" / "image.png"
    assert run.render(tmp_path / "big.png", scale=2).stat().st_size > 0
    assert "tensors" in run.export("field", tmp_path / "field.safetensors")
    with pytest.raises(RunError, match="no surface"):
        run.export("mesh", tmp_path / "mesh.ply")


def test_training_says_nothing_unless_asked(path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    fieldengine.train(path, out=tmp_path / "quiet")
    assert capfd.readouterr() == ("", "")
    fieldengine.train(path, out=tmp_path / "loud", quiet=False)
    out, err = capfd.readouterr()
    assert out == ""
    assert "psnr" in err
    assert "loud" in err


def test_training_leaves_the_callers_random_numbers_and_settings_alone(path: Path, tmp_path: Path):
    def state() -> tuple[Any, ...]:
        kind, keys, *rest = np.random.get_state()
        return torch.get_rng_state().tolist(), kind, keys.tolist(), rest, random.getstate()

    def settings() -> tuple[Any, ...]:
        return torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()

    before = state(), settings()
    fieldengine.train(path, out=tmp_path / "run")
    assert (state(), settings()) == before


def test_training_does_not_depend_on_the_callers_random_numbers(path: Path, tmp_path: Path):
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        runs.append(weights(fieldengine.train(path, out=tmp_path / str(seed))))
    assert torch.equal(*runs)


def test_the_seed_decides_where_a_field_starts_and_which_items_it_meets(path: Path, tmp_path: Path):
    states = []
    for seed in (1, 2):
        fieldengine.train(path, {"training.seed": seed, "training.lr": 1e-9}, out=tmp_path / str(seed))
        (last,) = checkpoint.list_checkpoints(tmp_path / str(seed) / "checkpoints")
        states.append(checkpoint.load(last)["training"])
    assert not torch.equal(states[0]["generator"], states[1]["generator"])
    name = "mlp.layers.0.weight"
    assert not torch.allclose(states[0]["field"][name], states[1]["field"][name])


def test_a_training_may_run_beside_the_main_thread(path: Path, tmp_path: Path):
    found: list[fieldengine.Run] = []
    worker = threading.Thread(target=lambda: found.append(fieldengine.train(path, out=tmp_path / "run")))
    worker.start()
    worker.join(timeout=120)
    assert found
    assert found[0].status == "done"


def test_what_is_wrong_is_a_field_engine_error_with_an_exit_code(path: Path, tmp_path: Path):
    for changes in ({"training.stesp": 1}, {"training.lr": -1}, {"dataset.path": "nowhere.png"}, {"field.type": "x"}):
        with pytest.raises(FieldEngineError) as caught:
            fieldengine.train(path, changes, out=tmp_path / "run")
        assert caught.value.exit_code == 2
        assert not (tmp_path / "run").exists()
    with pytest.raises(SceneError) as caught:
        fieldengine.train(path, {"training.stesp": 1})
    assert caught.value.key == "training.stesp"
    with pytest.raises(FieldEngineError, match="cuda"):
        fieldengine.load(tmp_path / "run", device="cuda" if not torch.cuda.is_available() else "cuda:99")


def test_importing_the_package_does_not_wait_for_torch():
    program = "import sys, fieldengine; print('torch' in sys.modules, fieldengine.__all__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1)[0] == "False"


def test_the_package_offers_what_it_says_and_no_more():
    assert {name: getattr(fieldengine, name) for name in fieldengine.__all__}
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        fieldengine.trian  # noqa: B018


@pytest.mark.parametrize("name", api.__all__)
def test_everything_a_plugin_may_use_has_a_docstring(name: str):
    found = getattr(api, name)
    if not inspect.isclass(found):
        return  # a number or a union of classes, which have none of their own
    doc = (found.__doc__ or "").strip()
    assert doc, f"{name} has no docstring"
    assert not doc.startswith(f"{name}("), f"{name} has only the docstring that dataclass made"


@pytest.mark.parametrize("name", fieldengine.__all__)
def test_everything_a_caller_may_use_has_a_docstring(name: str):
    found = getattr(fieldengine, name)
    assert inspect.getdoc(found)
    if inspect.isclass(found):
        for member, value in vars(found).items():
            if not member.startswith("_") and callable(value):
                assert inspect.getdoc(value), f"{name}.{member}"


def test_the_api_lists_all_it_has():
    public = {name for name, value in vars(api).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public - {"annotations"} == set(api.__all__)
    assert list(api.__all__) == sorted(api.__all__, key=lambda name: (not name.isupper(), name))
