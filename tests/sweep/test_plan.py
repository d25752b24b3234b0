"""Sweep files: which runs they make, and what is wrong with them, said before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fieldengine.config import document
from fieldengine.errors import SceneError
from fieldengine.metrics.evaluate import named
from fieldengine.sweep.plan import TILE, Sweep, file_names, labels_of, read_sweep

SWEEP = """\
scene: base.yaml
set: {training.steps: 5, field.width: 8}
grid:
  method:
    sine: {field.activation: siren}
    plain: {field.activation: relu, training.lr: 0.5}
  dataset.path: [photo.png, other.png]
seeds: 2
published:
  psnr: {sine: 38.5}
profiles:
  small: {set: {training.steps: 1}, grid: {dataset.path: [photo.png]}, seeds: [7]}
"""
PAPERS = sorted((Path(__file__).parents[2] / "scenes" / "papers").glob("*.yaml"))
BASE = "dataset: {type: image, path: photo.png}\nfield: {encoding: identity}\n"


@pytest.fixture
def plan(tmp_path: Path, photo: Path) -> Callable[..., Sweep]:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "other.png").write_bytes(photo.read_bytes())

    def read(text: str = SWEEP, **how: object) -> Sweep:
        (tmp_path / "mine.yaml").write_text(text)
        return read_sweep(tmp_path / "mine.yaml", **how)

    return read


def test_a_grid_makes_every_combination_with_every_seed(plan: Callable[..., Sweep], photo: Path):
    sweep = plan()
    assert sweep.axes == {"method": ["sine", "plain"], "dataset.path": ["photo", "other"], "seed": ["0", "1"]}
    assert [cell.name for cell in sweep.cells][:3] == ["sine-photo-0", "sine-photo-1", "sine-other-0"]
    assert len(sweep.cells) == 8
    cell = next(cell for cell in sweep.cells if cell.name == "plain-other-1")
    assert cell.config.plain["field"]["activation"]["type"] == "relu"
    training = cell.config.plain["training"]
    assert (training["lr"], training["seed"], training["steps"]) == (0.5, 1, 5)
    assert Path(cell.config.plain["dataset"]["path"]) == photo.parent / "other.png"
    assert training["tile"] == TILE  # the same for all, so that a run again is the same run
    assert (sweep.rows, sweep.published) == ("method", {"psnr": {"sine": 38.5}})


def test_numbers_of_rows_that_a_profile_leaves_out_are_left_out_too(plan: Callable[..., Sweep]):
    other = SWEEP.replace("grid: {dataset", "grid: {method: {sines: {field.activation: siren}}, dataset")
    sweep = plan(other, profile="small")
    assert sweep.axes["method"] == ["sines"]
    assert sweep.published == {"psnr": {}}


def test_a_profile_lays_its_keys_and_axes_over(plan: Callable[..., Sweep]):
    sweep = plan(profile="small")
    assert [cell.name for cell in sweep.cells] == ["sine-photo-7", "plain-photo-7"]
    training = sweep.cells[1].config.plain["training"]
    assert (training["steps"], training["lr"]) == (1, 0.5)
    assert sweep.cells[0].config.plain["field"]["width"] == 8


def test_paths_may_lie_elsewhere(plan: Callable[..., Sweep], tmp_path: Path, photo: Path):
    (tmp_path / "data").mkdir()
    for name in ("photo", "other"):
        (tmp_path / "data" / f"{name}.png").write_bytes(photo.read_bytes())
    sweep = plan(data=tmp_path / "data")
    assert {Path(cell.config.plain["dataset"]["path"]).parent for cell in sweep.cells} == {tmp_path / "data"}


def test_a_scene_may_be_written_in_the_sweep(plan: Callable[..., Sweep]):
    sweep = plan("scene: {dataset: {type: image, path: photo.png}}\ngrid: {field.width: [8, 16]}\n")
    assert [cell.config.plain["field"]["width"] for cell in sweep.cells] == [8, 16]


def test_milestones_are_read_in_order(plan: Callable[..., Sweep]):
    text = SWEEP + "milestones: {psnr: {reach: [25, 30], after_steps: 3}}\n"
    milestones = plan(text.replace("field.width: 8", "field.width: 8, evaluation.every: 1")).milestones
    heads = [head for milestone in milestones for head in milestone.heads]
    assert heads[:3] == ["steps to psnr 25", "seconds to psnr 25", "steps to psnr 30"]
    assert heads[-1] == "psnr after 3 steps"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("scene: base.yaml\n", "", "needs the key `scene`"),
        ("scene: base.yaml", "scene: bass.yaml", "no such file"),
        ("seeds: 2", "seed: 2", 'grid, seeds, rows, published, milestones, profiles. Did you mean "seeds"'),
        ("seeds: 2", "seeds: [1, 1]", "a seed appears twice"),
        ("seeds: 2", "seeds: many", "expected how many seeds"),
        ("seeds: 2", "seeds: 0", "expected how many seeds"),
        ("seeds: 2", "seeds: 1000000000", "makes 1,000,000,000 runs or more; the most is 10,000"),
        ("dataset.path: [", "seed: {a: {field.depth: 1}}\n  dataset.path: [", 'is the axis of `seeds`; give this one'),
        ("seeds: 2", "seeds: 2\nrows: [method]", "no axis"),
        ("seeds: 2", "seeds: 5000", "makes 20,000 runs; the most is 10,000"),
        ("[photo.png, other.png]", "[photo.png, photo.png]", 'the value "photo" appears twice'),
        ("[photo.png, other.png]", "[]", "is empty; an axis has at least one value"),
        ("[photo.png, other.png]", "photo.png", "expected a list of values"),
        ("field.width: 8", "field.wdth: 8", 'mine.yaml:2: field.wdth: no such key'),
        ("training.lr: 0.5", "training.lr: fast", "mine.yaml:6: training.lr"),
        ("plain: {field", "sine!: {field", None),
        ("psnr: {sine: 38.5}", "psnr: {other: 38.5}", 'no row "other" on axis "method". Rows: sine, plain'),
        ("psnr: {sine: 38.5}", "psnr: {sines: 38.5}", 'no row "sines" on axis "method". Did you mean "sine"'),
        ("psnr: {sine: 38.5}", "psnr: {sine: much}", "expected a number"),
        ("dataset.path: [", "field.activation: [", 'the axes "method" and "field.activation" both set field.act'),
        ("dataset.path: [", "field: [", 'the axes "method" and "field" both set'),
        ("field.width: 8}", "evaluation.every: 0}\nmilestones: {psnr: {reach: 3}}", "needs curves of scores; of 5"),
        ("seeds: 2", "seeds: 2\nmilestones: {psnr: {reach: soon}}", "psnr.reach: expected numbers, found 'soon'"),
        ("seeds: 2", "seeds: 2\nmilestones: {psnr: {reached: 3}}", 'Did you mean "reach"'),
        ("field.width: 8}", "evaluation.every: 5}\nmilestones: {psnr: {reach: 3}}", "every, now 5, to 1 or so"),
        ("scene: base.yaml", "dataset: {type: image, path: photo.png}", "is a scene, not a sweep"),
        ("seeds: 2", "seeds: 2\nmilestones: {PSNR: {reach: 3}}", 'no such metric. Metrics: chamfer, iou, lpips_alex'),
        ("published:\n  psnr:", "published:\n  pnsr:", 'Did you mean "psnr"'),
        ("seeds: 2", "seeds: 2\nrows: image", 'no axis "image". Axes: method, dataset.path, seed'),
    ],
)  # fmt: skip
def test_slips_are_said_with_their_place(plan: Callable[..., Sweep], before: str, after: str, message: str | None):
    assert before in SWEEP
    text = SWEEP.replace(before, after, 1)
    if message is None:  # different labels, different folders
        assert len({cell.name for cell in plan(text).cells}) == 8
        return
    with pytest.raises(SceneError) as caught:
        plan(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a b", "a/b"),
        ("a|b", "a_b"),
        ("A", "a"),
        ("图", "景"),
        ("|", "?"),
        ("x" * 300, "x" * 301),
        ("Ä", "ä"),
        ("é", "e"),
    ],
)
def test_labels_that_look_alike_have_folders_of_their_own(plan: Callable[..., Sweep], one: str, other: str):
    names = file_names([one, other])
    assert len({name.casefold() for name in names.values()}) == 2
    assert all(len(name.encode()) < 200 and "/" not in name and "|" not in name for name in names.values())
    text = (
        SWEEP.replace("sine: {", f'"{one}": {{', 1)
        .replace("plain: {", f'"{other}": {{')
        .replace("{sine:", f'{{"{one}":')
    )
    assert len({cell.name for cell in plan(text).cells}) == 8


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ("[one.png, two.png]", ["one", "two"]),
        ("[one.png, one.jpg]", ["one.png", "one.jpg"]),
        ("[s1/x.png, s2/x.png]", ["s1/x.png", "s2/x.png"]),
        ("[图.png, 景.png]", ["图", "景"]),
        ("[siren, finer]", ["siren", "finer"]),
        ("[{type: siren}, {type: finer}]", ["siren", "finer"]),
        ("[{type: siren, omega: 10}, {type: siren, omega: 20}]", ["siren omega=10", "siren omega=20"]),
        ("[{omega: 10}, {omega: 20}]", ["omega=10", "omega=20"]),
        ("[1, 2.0, true, null]", ["1", "2.0", "True", "None"]),
    ],
)
def test_values_are_called_by_what_tells_them_apart(values: str, labels: list[str], tmp_path: Path):
    path = tmp_path / "values.yaml"
    path.write_text(f"values: {values}\n", encoding="utf-8")
    assert labels_of(document.read(path).value["values"], "dataset.path") == labels


def test_an_unknown_profile_is_refused(plan: Callable[..., Sweep]):
    with pytest.raises(SceneError, match=r'no profile "smal". Profiles here: small. Did you mean "small"'):
        plan(profile="smal")


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", [None, "small"])
def test_the_papers_tables_can_be_run(path: Path, profile: str | None):
    sweep = read_sweep(path, profile)
    assert all(set(numbers) <= set(sweep.axes[sweep.rows]) for numbers in sweep.published.values())
    heads = [head for milestone in sweep.milestones for head in milestone.heads]
    metrics = (one.name for one in named(sweep.cells[0].config.evaluation.metrics))
    known = {*metrics, *heads} if sweep.milestones else set(sweep.published)
    assert profile or set(sweep.published) <= known
    assert len(sweep.cells) >= len(sweep.axes[sweep.rows])
