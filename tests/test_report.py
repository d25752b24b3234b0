"""Pages that compare runs: what stands on them, and that what cannot be drawn is said."""

from __future__ import annotations

import builtins
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import trimesh
from typer.testing import CliRunner

import fieldengine
from fieldengine.cli.app import app
from fieldengine.errors import FieldEngineError, RunError
from fieldengine.ntk import gram
from fieldengine.report import kernel, plots
from fieldengine.report.command import write_report
from fieldengine.report.page import Entry, Seen, learning_curve, learning_of
from fieldengine.report.plots import plot, save


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two short trainings of one small image."""
    import imageio.v3 as iio
    import numpy as np

    folder = tmp_path_factory.mktemp("runs")
    y, x = np.mgrid[0:16, 0:24]
    iio.imwrite(folder / "photo.png", np.stack([10 * x, 15 * y, 5 * x + 3 * y], axis=-1).astype(np.uint8))
    scene = folder / "scene.yaml"
    scene.write_text(
        "dataset: {type: image, path: photo.png}\n"
        "field: {encoding: identity, activation: siren, width: 16}\n"
        "training: {steps: 5, batch_size: full, log_every: 2}\nevaluation: {every: 0}\n"
    )
    for name, omega in (("calm", 5), ("a<b", 60)):
        fieldengine.train(scene, {"field.activation.omega": omega}, out=folder / name)
    return [folder / "calm", folder / "a<b"]


class Tags(HTMLParser):
    """Every tag of a page, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_holds_scores_curves_images_and_spectra_and_needs_no_other_file(runs: list[Path], tmp_path: Path):
    result = CliRunner().invoke(app, ["report", *map(str, runs), "--out", str(tmp_path / "page.html")])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text()
    found = Tags(page)
    assert found.tags.count("svg") == 2
    assert found.tags.count("img") == 5  # a target, and two images with their errors
    scores = [json.loads((run / "summary.json").read_text())["metrics"]["psnr"] for run in runs]
    assert all(f"{score:.4f}" in found.text for score in scores)
    assert "a<b" in found.text
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_the_same_runs_make_the_same_page(runs: list[Path], tmp_path: Path):
    for name in ("one.html", "two.html"):
        write_report(runs, tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_learning_curve_is_the_mean_of_its_runs(runs: list[Path]):
    curves = [learning_curve([run], "psnr_batch") for run in runs]
    both = learning_curve(runs, "psnr_batch")
    assert both is not None
    assert both[0] == [1, 3, 5]
    for i, value in enumerate(both[1]):
        assert value == pytest.approx(sum(curve[1][i] for curve in curves if curve) / 2)


@pytest.mark.parametrize(("evaluated", "shown"), [([5, 10], "PSNR, dB"), ([10], "PSNR of the step's items, dB")])
def test_learning_is_shown_by_scores_where_all_runs_were_scored_on_the_way(
    evaluated: list[int], shown: str, tmp_path: Path
):
    entries = []
    for name, steps in (("one", [5, 10]), ("two", evaluated)):
        lines = [{"step": 1, "psnr_batch": 3.0}, {"step": 10, "psnr_batch": 9.0}]
        lines += [{"step": step, "psnr": 20.0 + step} for step in steps]
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        entries.append(Entry(name, [tmp_path / name]))
    curves, axis = learning_of(entries)
    assert axis == shown
    assert curves["one"] == (([5, 10], [25.0, 30.0]) if len(evaluated) > 1 else ([1, 10], [3.0, 9.0]))


def test_the_error_is_that_of_what_a_screen_shows():
    seen = Seen(torch.tensor([[[1.5, 0.25]]]), torch.tensor([[[1.0, 0.75]]]), "x")
    assert float(seen.error) == pytest.approx(0.25)


def test_names_of_curves_are_shown_as_they_are(recwarn: pytest.WarningsRecorder):
    names = ["$a$ is $b", "_hidden", "图", "<b>", "a|b"]
    shown = plots.svg(plots.plot({name: ([1, 2], [1, 2]) for name in names}, x="x", y="y"))
    assert all(html.escape(name, quote=False) in shown for name in names)
    assert not recwarn.list


def test_a_run_without_images_gets_a_page_with_its_curve(tmp_path: Path):
    scene = tmp_path / "scene.yaml"
    trimesh.creation.box().export(tmp_path / "box.ply")
    scene.write_text(f"dataset: {{type: mesh, path: {tmp_path / 'box.ply'}}}\ntraining: {{steps: 2, batch_size: 64}}\n")
    fieldengine.train(scene, {"evaluation.every": 0}, out=tmp_path / "run")
    write_report([tmp_path / "run"], tmp_path / "page.html")
    found = Tags((tmp_path / "page.html").read_text())
    assert found.tags.count("svg") == 1
    assert "iou" in found.text


def test_what_is_no_run_is_refused_by_name(tmp_path: Path, runs: list[Path]):
    with pytest.raises(RunError, match="is not a run folder"):
        write_report([tmp_path], tmp_path / "page.html")
    with pytest.raises(FieldEngineError, match=r"a report ends in \.html"):
        write_report(runs, tmp_path / "page.pdf")
    with pytest.raises(FieldEngineError, match=r"a plot ends in \.svg, \.png or \.pdf"):
        save(plot({"a": ([1.0], [2.0])}, x="x", y="y"), tmp_path / "plot.txt")


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *arguments: object, **named: object) -> object:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FieldEngineError, match=r"pip install 'fieldengine\[report\]'"):
        plot({"a": ([1.0], [2.0])}, x="x", y="y")


# ------------------------------------------------------------------------------------------------ the tangent kernel


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training of a small image that keeps every checkpoint."""
    import imageio.v3 as iio
    import numpy as np

    folder = tmp_path_factory.mktemp("followed")
    iio.imwrite(folder / "photo.png", np.random.default_rng(0).integers(0, 255, (20, 44, 3), dtype=np.uint8))
    scene = folder / "scene.yaml"
    scene.write_text(
        "dataset: {type: image, path: photo.png}\n"
        "field: {encoding: identity, activation: siren, width: 8}\n"
        "training: {steps: 6, batch_size: full, checkpoint_every: 2, keep_checkpoints: all}\nevaluation: {every: 0}\n"
    )
    fieldengine.train(scene, out=folder / "run")
    return folder / "run"


def test_an_analysis_shows_the_kernel_before_training_and_at_each_checkpoint(followed: Path, tmp_path: Path):
    out = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["analyze", str(followed), "--out", str(out)])
    assert result.exit_code == 0, result.output
    found = Tags(out.read_text())
    assert found.tags.count("svg") == 2
    assert found.tags.count("img") == 4 * 4
    for step in (0, 2, 4, 6):
        assert f"step {step}" in found.text


def test_the_rows_and_eigenvalues_are_those_of_the_jacobian(followed: Path):
    run = fieldengine.load(followed)
    grid, field = run.domain.grid, run.field
    assert grid is not None
    found = kernel.analysis(run, 6, None)
    assert found.error is None

    def jacobian(pixels: torch.Tensor) -> torch.Tensor:
        values = field.values(grid.items(pixels).positions).mean(dim=-1)
        rows = [torch.autograd.grad(v, list(field.parameters()), retain_graph=True) for v in values]
        return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])

    everything = jacobian(torch.arange(20 * 44))
    for (row, column), part in zip(kernel.places(grid), found.rows, strict=True):
        own = (everything @ everything[row * 44 + column]).view(20, 44)
        wanted = own[max(0, row - 16) : row + 17, max(0, column - 16) : column + 17]
        assert torch.allclose(part, wanted, rtol=1e-3, atol=1e-5 * float(own.max()))
    points = kernel.spread(run.domain)
    values = kernel.values_of(field, run.domain)
    whole = gram(field, values, points)
    assert torch.allclose(found.eigenvalues.sum(), whole.trace(), rtol=1e-4)
    assert len(points) == 256
    share = found.eigenvalues / found.eigenvalues.sum()
    assert share[: found.n_learnt].sum() >= 0.99 > share[: found.n_learnt - 1].sum()


def test_before_training_the_field_is_the_one_that_the_seed_makes(followed: Path):
    first, again, last = (fieldengine.load(followed, step=step) for step in (0, 0, 6))
    one, other, trained = (torch.nn.utils.parameters_to_vector(run.field.parameters()) for run in (first, again, last))
    assert torch.equal(one, other)
    assert not torch.equal(one, trained)
    fresh = fieldengine.train(followed / "scene.yaml", {"training.max_seconds": 1e-9}, out=followed.parent / "fresh")
    assert fresh.summary["steps"] == 1
    moved = (torch.nn.utils.parameters_to_vector(fresh.field.parameters()) - one).detach()
    assert float(moved.abs().max()) <= 1.01e-2  # one step of Adam moves no weight by more than its rate


def test_data_without_images_get_the_spectrum_alone(tmp_path: Path):
    trimesh.creation.box().export(tmp_path / "box.ply")
    (tmp_path / "scene.yaml").write_text(
        "dataset: {type: mesh, path: box.ply}\nfield: {encoding: identity, width: 8}\n"
        "training: {steps: 2, batch_size: 64}\nevaluation: {every: 0}\n"
    )
    fieldengine.train(tmp_path / "scene.yaml", out=tmp_path / "run")
    kernel.write_analysis(tmp_path / "run", tmp_path / "page.html")
    found = Tags((tmp_path / "page.html").read_text())
    assert (found.tags.count("svg"), found.tags.count("img")) == (1, 0)


def test_what_cannot_be_analysed_is_said(followed: Path, tmp_path: Path):
    with pytest.raises(FieldEngineError, match=r"ends in \.html"):
        kernel.write_analysis(followed, tmp_path / "page.png")
    with pytest.raises(RunError, match="is not a run folder"):
        kernel.write_analysis(tmp_path / "field.safetensors", tmp_path / "page.html")
    with pytest.raises(RunError, match=r"has no checkpoint of step 3\. Steps: 2, 4, 6"):
        fieldengine.load(followed, step=3)
