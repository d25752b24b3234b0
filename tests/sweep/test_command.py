"""Sweeps as they run: missing cells only, a failed one beside good ones, killed and finished to the same table."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from fieldengine.errors import RunError, SceneError
from fieldengine.sweep.command import run_sweep
from fieldengine.sweep.plan import read_sweep
from fieldengine.sweep.table import table
from fieldengine.sweep.work import Outcome

SWEEP = """\
scene: {{dataset: {{type: image, path: photo.png}}, field: {{encoding: identity, width: 16}}}}
set: {{training.steps: {steps}, training.checkpoint_every: 20, training.batch_size: full, training.lr: 1.e-3,
       evaluation.every: 5}}
grid:
  method:
    sine: {{field.activation: siren}}
    plain: {{field.activation: relu}}
seeds: 2
published:
  psnr: {{sine: 40}}
milestones:
  psnr: {{after_steps: [10], reach: 99}}
"""
ONE_SEED = SWEEP.replace("seeds: 2", "seeds: 1")


Write = Callable[..., Path]


@pytest.fixture
def sweep_file(tmp_path: Path, photo: Path) -> Write:
    return partial(write, tmp_path, photo)


def write(folder: Path, photo: Path, text: str = SWEEP, steps: int = 10) -> Path:
    if not (folder / "photo.png").exists():
        shutil.copy(photo, folder / "photo.png")
    path = folder / "mine.yaml"
    path.write_text(text.format(steps=steps))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome]]:
    """A sweep that was run to its end, its file beside it; each run costs seconds, so tests share it."""
    folder = tmp_path_factory.mktemp("finished")
    iio.imwrite(folder / "photo.png", np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8))
    path, outcomes = run_sweep(write(folder, folder / "photo.png"), out=folder / "out", workers=2)
    return path, outcomes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of longer runs that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    iio.imwrite(folder / "photo.png", np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8))
    run_sweep(write(folder, folder / "photo.png", ONE_SEED, 400), out=folder / "out", workers=2)
    return folder


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_sweep_writes_a_line_for_each_run_and_a_row_for_each_label(finished: tuple[Path, list[Outcome]]):
    folder, outcomes = finished
    assert [outcome.status for outcome in outcomes] == ["done"] * 4
    found = lines(folder)
    assert [(line["method"], line["seed"]) for line in found] == [(m, s) for m in ("sine", "plain") for s in "01"]
    values = [float(line["psnr"]) for line in found]
    assert len(set(values)) == 4
    assert "<svg" in (folder / "report.html").read_text()
    table = (folder / "table.md").read_text()
    rows = {row.split("|")[1].strip(): row.split("|") for row in table.splitlines() if row.startswith("|")}
    mean = (values[0] + values[1]) / 2
    deviation = abs(values[0] - values[1]) / 2**0.5
    heads = [head.strip() for head in rows["method"]]
    assert rows["sine"][heads.index("psnr")].strip() in (
        f"{mean:.2f} ± {deviation:.2g}",
        f"{mean:.4g} ± {deviation:.2g}",
    )
    assert rows["sine"][heads.index("psnr, published")].strip() == "40"
    assert rows["plain"][heads.index("psnr, published")].strip() == ""
    assert "2 seeds" in table
    assert rows["sine"][heads.index("psnr after 10 steps")] == rows["sine"][heads.index("psnr")]
    assert rows["plain"][heads.index("seconds to psnr 99")].strip() == "-"
    assert " of 2)" not in table
    assert "-: none of the row's runs has ended well and come to it." in table


def test_a_mean_of_some_of_a_rows_runs_says_of_how_many(sweep_file: Write):
    sweep = read_sweep(sweep_file(SWEEP))
    states = [("done", 30.0), ("failed", 0.0), ("failed", 0.0), ("failed", 0.0)]
    outcomes = [Outcome(cell, state) for cell, (state, _) in zip(sweep.cells, states, strict=True)]
    found = table(sweep, outcomes, [{"metrics": {"psnr": psnr}} for _, psnr in states])
    assert [row[1] for row in found.rows] == ["30.00 (1 of 2)", "-"]
    assert found.notes[1].startswith("(1 of 3): the mean of one run of three;")
    assert found.notes[2].startswith("-: none of the row's runs")


def test_what_is_done_is_not_run_again(finished: tuple[Path, list[Outcome]]):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/summary.json")}
    assert len(before) == 4
    table = (folder / "table.md").read_bytes()
    run_sweep(folder.parent / "mine.yaml", out=folder)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (folder / "table.md").read_bytes() == table


def test_other_options_are_not_mixed_into_the_same_folder(finished: tuple[Path, list[Outcome]], tmp_path: Path):
    folder, _ = finished
    other = tmp_path / "mine.yaml"
    other.write_text(SWEEP.format(steps=11))
    with pytest.raises(RunError, match=r"with training.steps: 10; the sweep now has 11. Choose another --out"):
        run_sweep(other, out=folder, data=folder.parent)  # the same image: steps alone differ


def test_a_sweep_whose_data_is_elsewhere_is_refused_before_its_first_run(sweep_file: Write, tmp_path: Path):
    text = SWEEP.replace("photo.png", "gone.png")
    with pytest.raises(SceneError, match=r"gone\.png: no such file\. Name the folder of the data by --data"):
        run_sweep(sweep_file(text), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_cell_that_fails_stops_no_other(sweep_file: Write, tmp_path: Path):
    text = ONE_SEED.replace("plain: {{field.activation: relu}}", "plain: {{dataset.path: gone.png}}")
    folder, outcomes = run_sweep(sweep_file(text), out=tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["done", "failed"]
    assert "gone.png" in outcomes[1].reason
    assert "gone.png" in lines(folder)[1]["reason"]
    assert "| plain | - |" in (folder / "table.md").read_text()
    (tmp_path / "gone.png").write_bytes((tmp_path / "photo.png").read_bytes())
    _, outcomes = run_sweep(sweep_file(text), out=tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["done"] * 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_sweep_finishes_to_the_same_table(how: signal.Signals, whole: Path, tmp_path: Path):
    path = whole / "mine.yaml"
    command = [sys.executable, "-m", "fieldengine", "sweep", str(path), "--out", str(tmp_path / "cut")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in a background job
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list((tmp_path / "cut").glob("cells/*/checkpoints/*")):  # in the middle of the first run
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate()
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    cut, outcomes = run_sweep(path, out=tmp_path / "cut")
    assert [outcome.status for outcome in outcomes] == ["done"] * 2
    scores = [[line["psnr"] for line in lines(folder)] for folder in (whole / "out", cut)]
    assert scores[0] == scores[1]
    assert (whole / "out" / "table.md").read_text() == (cut / "table.md").read_text()
