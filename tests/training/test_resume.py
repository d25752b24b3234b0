"""A run that was killed, interrupted or finished goes on to the bits of one that never stopped."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fieldengine
from fieldengine.errors import RunError, TrainingError
from fieldengine.metrics import surface as metrics
from fieldengine.runs import train as fitting
from fieldengine.training import checkpoint, loop
from fieldengine.training.fit import Fit, StepReport

STEPS, EVERY, KILLED = 12, 4, 10
COARSE = 8, 200, 200  # scores of solids from a handful of points: here only the training counts
SINES = "field: {{encoding: identity, activation: {{type: finer, omega: 5, first_omega: 5}}, width: 8, depth: 1}}"
DATA = {
    "image": "dataset: {{type: image, path: {photo}}}\n" + SINES,
    "mesh": "dataset: {{type: mesh, path: {ball}, n_samples: 2000}}\n" + SINES,
    "procedural": (
        "dataset: {{type: procedural, views: 2, test_views: 1, size: 12}}\n"
        "field: {{encoding: {{type: hash_grid, n_levels: 2, log2_table: 8, finest: 32}}, width: 8}}\n"
        "renderer: {{sampler: {{type: occupancy, resolution: 8, steps: 24, every: 3, warmup: 2, "
        "samples_per_step: 300}}}}"
    ),
}
KINDS = list(DATA)
# trainings, a process each, that are killed from within before step KILLED, as by a power cut
PROGRAM = f"""
import os, signal, sys
import torch._dynamo, torchmetrics.functional.image  # what every child would import for itself
from fieldengine.runs import train as fitting
from fieldengine.metrics import surface as metrics
from fieldengine.training import loop
metrics.CHAMFER_RESOLUTION, metrics.SURFACE_POINTS, metrics.IOU_POINTS = {COARSE}
step = loop.training_step
def killed(fit, number):
    if number == {KILLED}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(fit, number)
loop.training_step = killed
for scene, out in zip(sys.argv[1::2], sys.argv[2::2]):
    child = os.fork()
    if not child:
        fitting.train(scene, out=out)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(("CHAMFER_RESOLUTION", "SURFACE_POINTS", "IOU_POINTS"), COARSE, strict=True):
        monkeypatch.setattr(metrics, name, value)
    # the portrait of a finished run: nothing here looks at it
    monkeypatch.setattr(fitting, "show", lambda *arguments: None)


@pytest.fixture
def write(request: pytest.FixtureRequest, scene: Callable[[str, str], Path]) -> Write:
    """A tiny scene with everything that a training remembers: an average, Adam's moments, a grid, random numbers."""

    def write_scene(kind: str) -> Path:
        files = {name: request.getfixturevalue(name) for name in ("photo", "ball")}
        training = (
            f"training: {{steps: {STEPS}, checkpoint_every: {EVERY}, log_every: 1, batch_size: 40, lr: 1.0e-2, "
            f"ema: 0.9, schedule: {{decay: constant}}}}\nevaluation: {{every: 5}}"
        )
        return scene(DATA[kind].format(**files) + "\n" + training, f"{kind}.yaml")

    return write_scene


def newest(run: Path) -> dict[str, Any]:
    return checkpoint.load(checkpoint.list_checkpoints(run / "checkpoints")[-1])


def leaves(tree: Any, key: str = "") -> dict[str, Any]:
    """Every leaf of a checkpoint but the time it took."""
    if isinstance(tree, dict):
        return {k: v for name, child in tree.items() for k, v in leaves(child, f"{key}/{name}").items()}
    if isinstance(tree, list):
        return {k: v for i, child in enumerate(tree) for k, v in leaves(child, f"{key}/{i}").items()}
    return {} if key.endswith("/seconds") else {key: tree}


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = leaves(newest(one)), leaves(newest(other))
    assert first.keys() == second.keys()
    for key, value in first.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, second[key]), key
        else:
            assert value == second[key], key


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_time(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def halved(run: Path, copy: Path) -> Path:
    """A copy of a finished run as it was when its last but one checkpoint had been written."""
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints" / f"step_{STEPS:08d}")
    return copy


# ---------------------------------------------------------------------------------------------------------- killed


def test_killed_runs_end_with_the_bits_of_runs_that_were_not(write: Write, tmp_path: Path):
    scenes = {kind: write(kind) for kind in KINDS}
    killed = {kind: tmp_path / f"{kind} killed" for kind in KINDS}
    pairs = [argument for kind in KINDS for argument in (scenes[kind], killed[kind])]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *pairs], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(KINDS), done.stderr
    for kind, run in killed.items():
        whole = tmp_path / f"{kind} whole"
        assert [line["step"] for line in lines(run) if "loss" in line] == list(range(1, KILLED + 1))
        assert newest(run)["training"]["step"] == 8, "two steps are lost"
        assert not (run / "summary.json").exists()
        fieldengine.train(scenes[kind], out=whole)
        resumed = fieldengine.train(scenes[kind], out=run, resume=True)
        assert resumed.status == "done"
        assert_same_bits(whole, run)
        assert without_time(lines(run)) == without_time(lines(whole)), f"{kind}: a step is logged twice or differently"
        assert resumed.summary["steps"] == STEPS
        assert resumed.metrics == fieldengine.load(whole).metrics


def test_metrics_of_lost_steps_are_dropped_with_a_line_that_was_cut_short(write: Write, tmp_path: Path):
    path, run = write("image"), tmp_path / "run"
    fieldengine.train(path, out=run)
    before = without_time(lines(run))
    killed = halved(run, tmp_path / "killed")
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "lo')
    fieldengine.train(path, out=killed, resume=True)
    assert without_time(lines(killed)) == before


def test_a_checkpoint_that_was_being_written_when_the_run_died_is_not_taken_for_one(write: Write, tmp_path: Path):
    path, run = write("image"), tmp_path / "run"
    fieldengine.train(path, out=run)
    killed = halved(run, tmp_path / "killed")
    partial = killed / "checkpoints" / f".step_{STEPS:08d}.partial"
    partial.mkdir()
    (partial / "state.safetensors").write_bytes(b"half")
    fieldengine.train(path, out=killed, resume=True)
    assert_same_bits(run, killed)
    assert not partial.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_being_looked_at_on_the_way_changes_nothing(write: Write, tmp_path: Path, kind: str):
    path = write(kind)
    often = {"evaluation.every": 1, "training.checkpoint_every": 1, "training.log_every": 1}
    seldom = {"evaluation.every": 0, "training.checkpoint_every": 1000, "training.log_every": 1000}
    for name, overrides in (("often", often), ("seldom", seldom)):
        fieldengine.train(path, overrides, out=tmp_path / name)
    assert_same_bits(tmp_path / "often", tmp_path / "seldom")


# ------------------------------------------------------------------------------------------------------ interrupted


def interrupt_at(number: int, monkeypatch: pytest.MonkeyPatch, kind: signal.Signals) -> None:
    step = loop.training_step

    def interrupted(fit: Fit, now: int) -> StepReport:
        if now == number:
            signal.raise_signal(kind)
        return step(fit, now)

    monkeypatch.setattr(loop, "training_step", interrupted)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM], ids=lambda kind: kind.name)
def test_an_interrupted_run_finishes_its_step_saves_it_and_goes_on_to_the_same_bits(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: signal.Signals
):
    path, whole, run = write("procedural"), tmp_path / "whole", tmp_path / "run"
    fieldengine.train(path, out=whole)
    handler = signal.getsignal(kind)
    with monkeypatch.context() as patch:
        interrupt_at(6, patch, kind)
        stopped = fieldengine.train(path, out=run)
    assert signal.getsignal(kind) == handler, "signals are what they were"
    assert stopped.status == "interrupted"
    assert stopped.summary["steps"] == newest(run)["training"]["step"] == 7
    assert fieldengine.train(path, out=run, resume=True).status == "done"
    assert_same_bits(whole, run)
    assert without_time(lines(run)) == without_time(lines(whole))


# ---------------------------------------------------------------------------------------------------------- changed


def test_more_steps_may_be_asked_for_and_end_where_one_long_run_does(write: Write, tmp_path: Path):
    path = write("image")
    fieldengine.train(path, out=tmp_path / "short")
    resumed = fieldengine.train(path, {"training.steps": 16}, out=tmp_path / "short", resume=True)
    fieldengine.train(path, {"training.steps": 16}, out=tmp_path / "long")
    assert resumed.summary["steps"] == 16
    assert_same_bits(tmp_path / "short", tmp_path / "long")
    assert [line["step"] for line in lines(tmp_path / "short") if "loss" in line] == list(range(1, 17))
    assert "steps: 16" in (tmp_path / "short" / "scene.yaml").read_text()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.lr", 2e-2),
        ("training.ema", 0.5),
        ("training.batch_size", 41),
        ("training.seed", 1),
        ("field.width", 9),
        ("field.activation.omega", 3.0),
        ("dataset.downscale", 2),
        ("training.schedule.decay", "cosine"),
    ],
)
def test_another_scene_is_refused_with_the_key_and_both_values_and_nothing_is_touched(
    write: Write, tmp_path: Path, key: str, value: Any
):
    path, run = write("image"), tmp_path / "run"
    fieldengine.train(path, out=run)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with pytest.raises(RunError) as caught:
        fieldengine.train(path, {key: value}, out=run, resume=True)
    assert f"{key} was " in str(caught.value)
    assert f"is {value!r}" in str(caught.value)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_resuming_a_finished_run_does_no_harm(write: Write, tmp_path: Path):
    path, run = write("image"), tmp_path / "run"
    first = fieldengine.train(path, out=run)
    kept = shutil.copytree(run, tmp_path / "kept")
    again = fieldengine.train(path, out=run, resume=True)
    assert again.status == "done"
    assert again.metrics == first.metrics
    assert_same_bits(run, kept)
    for key in ("steps", "seconds_train", "n_parameters", "metrics", "seed"):
        assert again.summary[key] == first.summary[key], key


def test_resuming_a_finished_run_logs_nothing_twice(write: Write, tmp_path: Path):
    path, run = write("image"), tmp_path / "run"
    fieldengine.train(path, out=run)
    before = lines(run)
    fieldengine.train(path, out=run, resume=True)
    assert lines(run) == before


def test_without_a_folder_the_newest_run_of_the_scene_is_resumed(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write("image")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        fieldengine.train(path)
    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == ["image", "image-2"]
    resumed = fieldengine.train(path, {"training.steps": 13}, resume=True)
    assert resumed.folder == Path("runs/image-2")
    assert newest(tmp_path / "runs" / "image")["training"]["step"] == STEPS


def test_nothing_to_resume_is_said_and_nothing_is_made(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write("image")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no run of this scene"):
        fieldengine.train(path, resume=True)
    with pytest.raises(RunError, match="nothing to resume"):
        fieldengine.train(path, out="nowhere", resume=True)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "nowhere").exists()


# ---------------------------------------------------------------------------------------------------------- damaged


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path) -> None:
    file.write_text("{}")


def renamed(file: Path) -> None:
    found = json.loads(file.read_text())
    found["training"]["feild"] = found["training"].pop("field")
    file.write_text(json.dumps(found))


def retyped(file: Path) -> None:
    found = json.loads(file.read_text())
    found["training"]["ema"] = 5
    file.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.safetensors", cut),
        ("state.safetensors", Path.unlink),
        ("state.json", cut),
        ("state.json", emptied),
        ("state.json", renamed),
        ("state.json", retyped),
    ],
    ids=["tensors cut", "tensors gone", "tree cut", "tree empty", "a key renamed", "a value of another type"],
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_still_works(
    write: Write, tmp_path: Path, name: str, damage: Callable[[Path], None]
):
    path, run = write("image"), tmp_path / "run"
    fieldengine.train(path, out=run)
    kept = shutil.copytree(run, tmp_path / "kept")
    bad = run / "checkpoints" / f"step_{STEPS:08d}"
    damage(bad / name)
    complaint = rf"step_{STEPS:08d}.*(damaged|does not fit)"
    with pytest.raises(RunError, match=complaint):
        fieldengine.train(path, {"training.steps": 14}, out=run, resume=True)
    with pytest.raises(RunError, match=complaint):
        fieldengine.load(run)
    shutil.rmtree(bad)  # as the message says
    fieldengine.train(path, out=run, resume=True)
    assert_same_bits(run, kept)


@pytest.mark.parametrize("last", [6, 7], ids=["before a checkpoint is due", "in the step before a checkpoint"])
def test_every_checkpoint_of_a_training_that_blew_up_is_from_before(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
):
    path, run, step = write("image"), tmp_path / "run", loop.training_step

    def blown_up(fit: Fit, number: int) -> StepReport:
        report = step(fit, number)
        if number == last:
            with torch.no_grad():
                fit.parameters[0].fill_(float("nan"))
        return report

    monkeypatch.setattr(loop, "training_step", blown_up)
    with pytest.raises(TrainingError, match=r"nan|finite"):
        fieldengine.train(path, {"training.steps": 40, "training.log_every": 15}, out=run)
    kept = checkpoint.list_checkpoints(run / "checkpoints")
    assert kept, "checkpoints from before are kept"
    for one in kept:
        found = checkpoint.load(one)["training"]["field"]
        assert all(bool(value.isfinite().all()) for value in found.values()), one.name


def test_a_failed_training_says_so_in_its_summary(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, run = write("image"), tmp_path / "run"

    def lost(fit: Fit, number: int) -> StepReport:
        return StepReport(torch.tensor(float("inf")), torch.tensor(1.0), torch.tensor(0.0), 1)

    monkeypatch.setattr(loop, "training_step", lost)
    with pytest.raises(TrainingError):
        fieldengine.train(path, out=run)
    found = json.loads((run / "summary.json").read_text())
    assert found["status"] == "failed"
    assert "inf" in found["reason"]
    assert "failed" in (run / "log.txt").read_text()


# -------------------------------------------------------------------------------------------------------- evaluated


def test_what_is_scored_exported_and_loaded_is_the_average(write: Write, tmp_path: Path):
    run = fieldengine.train(write("image"), out=tmp_path / "run")
    state = newest(tmp_path / "run")["training"]
    loaded = fieldengine.load(tmp_path / "run")
    for name, value in loaded.trained.field.named_parameters():
        assert torch.equal(value.detach(), state["ema"]["average"][name])
        assert torch.equal(value.detach(), run.trained.field.get_parameter(name).detach())
        assert not torch.equal(value.detach(), state["field"][name])
    assert loaded.evaluate("test")["psnr"] == pytest.approx(run.metrics["psnr"], rel=1e-6)
