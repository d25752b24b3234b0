"""What a run shares with its process: threads, forks, torch's default type, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fieldengine
from fieldengine.precision import float32_by_default
from fieldengine.runs.load import Run
from fieldengine.runs.process import Interruption, interruption, one_training

SCENE = "dataset: {{type: image, path: {photo}}}\nfield: {{width: 8, depth: 1}}\ntraining: {{steps: 3, seed: {seed}}}\n"


def weights(run: Run) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.trained.field.parameters()])


@pytest.fixture
def write(photo: Path, tmp_path: Path) -> Callable[[int], Path]:
    def written(seed: int) -> Path:
        path = tmp_path / f"seed{seed}.yaml"
        path.write_text(SCENE.format(photo=photo, seed=seed), encoding="utf-8")
        return path

    return written


def test_two_trainings_in_threads_end_as_each_does_alone(write: Callable[[int], Path], tmp_path: Path):
    alone = {seed: weights(fieldengine.train(write(seed), out=tmp_path / f"alone{seed}")) for seed in (0, 1)}
    together: dict[int, torch.Tensor] = {}

    def work(seed: int) -> None:
        together[seed] = weights(fieldengine.train(write(seed), out=tmp_path / f"together{seed}"))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (0, 1):
        assert torch.equal(together[seed], alone[seed])


def test_a_training_says_that_it_waits_for_another():
    said: list[str] = []
    entered = threading.Event()

    def wait() -> None:
        with one_training(said.append):
            entered.set()

    with one_training(said.append):
        other = threading.Thread(target=wait)
        other.start()
        assert not entered.wait(0.2)
        with one_training(said.append):  # one inside another is no other one
            pass
    other.join()
    assert entered.is_set()
    assert len(said) == 1
    assert "another training runs in this process" in said[0]


def test_everything_is_float32_whatever_torch_s_default_is(write: Callable[[int], Path], tmp_path: Path):
    usual = fieldengine.train(write(0), out=tmp_path / "usual")
    torch.set_default_dtype(torch.float64)
    try:
        run = fieldengine.train(write(0), out=tmp_path / "run")
        assert torch.get_default_dtype() == torch.float64
        assert torch.equal(weights(run), weights(usual))
        loaded = fieldengine.load(tmp_path / "run")
        assert {p.dtype for p in loaded.field.parameters()} == {torch.float32}
        assert loaded.field(torch.zeros(2, 2)).dtype == torch.float32
        assert loaded.evaluate() == usual.evaluate()
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_last_of_several_blocks_puts_the_default_type_back():
    torch.set_default_dtype(torch.float64)
    try:
        first, second = float32_by_default(), float32_by_default()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float32
        second.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


FORKED = """
import multiprocessing, sys
import fieldengine

def work(scene, run):
    for ask in (lambda: fieldengine.load(run), lambda: fieldengine.train(scene, out=run + "2")):
        try:
            ask()
        except fieldengine.errors.FieldEngineError as reason:
            print(reason, flush=True)

if __name__ == "__main__":
    scene, run, how = sys.argv[1:]
    import fieldengine.errors
    fieldengine.train(scene, out=run)
    process = multiprocessing.get_context(how).Process(target=work, args=(scene, run))
    process.start()
    process.join(120)
    sys.exit(process.exitcode)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_fork_of_a_process_that_trained_is_refused_and_a_spawned_one_is_not(
    write: Callable[[int], Path], tmp_path: Path, how: str
):
    program = tmp_path / "program.py"
    program.write_text(FORKED, encoding="utf-8")
    command = [sys.executable, "-W", "ignore", str(program), str(write(0)), str(tmp_path / "run"), how]
    found = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count('Start it with "spawn"') == (2 if how == "fork" else 0)
    assert (tmp_path / "run2").exists() == (how == "spawn")


def test_signals_of_one_press_are_one_and_another_ends_at_once(monkeypatch: pytest.MonkeyPatch):
    now = [10.0]
    monkeypatch.setattr("fieldengine.runs.process.time.monotonic", lambda: now[0])
    with interruption() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        now[0] += 0.02
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        now[0] += 1.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_where_nothing_is_to_be_kept_the_first_signal_ends_at_once():
    found = Interruption()
    found.patient = False
    with pytest.raises(KeyboardInterrupt):
        found.handle(signal.SIGINT, None)
    assert found()


def test_a_training_that_is_ended_at_once_is_interrupted_and_says_what_is_kept(
    write: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from fieldengine.training import loop

    step = loop.training_step

    def twice(fit: Any, number: int) -> Any:
        if number == 2:
            raise KeyboardInterrupt
        return step(fit, number)

    monkeypatch.setattr(loop, "training_step", twice)
    with pytest.raises(KeyboardInterrupt):
        fieldengine.train(write(0), {"training.checkpoint_every": 1}, out=tmp_path / "run")
    assert '"status": "interrupted"' in (tmp_path / "run" / "summary.json").read_text(encoding="utf-8")
    assert "interrupted at step 2 at once; the last checkpoint is of step 2" in capsys.readouterr().err
