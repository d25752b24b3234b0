"""A field file is all that is needed to use a field: no data, no code, the same bits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import fieldengine
from fieldengine.errors import FieldEngineError, RunError
from fieldengine.export.field import digest
from fieldengine.renderers.image import render_image
from fieldengine.runs.load import Run

SINES = "field: {encoding: identity, activation: {type: finer, omega: 5, first_omega: 5}, width: 8, depth: 1}\n"
SCENES = {
    "image": "dataset: {type: image, path: PHOTO}\n" + SINES,
    "mesh": "dataset: {type: mesh, path: BALL, n_samples: 2000}\n" + SINES,
    "procedural": "dataset: {type: procedural, views: 2, test_views: 1, size: 12}\n"
    "field: {encoding: {type: hash_grid, n_levels: 2, log2_table: 8, finest: 32}, width: 8}\n"
    "renderer: {sampler: {type: occupancy, resolution: 8, steps: 24}}\n",
}
KINDS = list(SCENES)

pytestmark = pytest.mark.usefixtures("quick_scores")


@pytest.fixture
def trained(photo: Path, ball: Path, scene: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Run]:
    """A run of a few steps, whose data and folder are gone when it returns."""

    def train(kind: str) -> Run:
        text = SCENES[kind].replace("PHOTO", str(photo)).replace("BALL", str(ball))
        training = "training: {steps: 3, batch_size: 50, lr: 1.0e-2, ema: 0.5}"
        run = fieldengine.train(scene(text + training), out=tmp_path / "run")
        for path in (photo, ball):
            path.unlink()
        shutil.rmtree(tmp_path / "run")
        return run

    return train


def places(run: Run) -> Tensor:
    unit = 2 * torch.rand(200, run.domain.aabb.dim, generator=torch.Generator().manual_seed(0)) - 1
    return run.domain.aabb.from_unit(unit)


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_file_gives_the_same_bits_without_data_or_run(trained: Callable[[str], Run], tmp_path: Path, kind: str):
    run = trained(kind)
    sentence = run.export("field", tmp_path / "field.safetensors")
    assert "tensors" in sentence
    loaded = fieldengine.load(tmp_path / "field.safetensors")
    x = places(run)
    with torch.no_grad():
        assert torch.equal(loaded.field(x), run.field(x))
    for part in ("field", "renderer"):
        before, after = getattr(run.trained, part).state_dict(), getattr(loaded.trained, part).state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    grid = run.domain.grid
    assert grid is not None
    assert loaded.domain.grid == grid
    small = grid.resized(9, 9)
    images = [render_image(r.field, r.trained.renderer, r.domain, small).values for r in (run, loaded)]
    assert torch.equal(*images)


def test_a_field_file_remembers_its_scores_and_can_be_exported_again(trained: Callable[[str], Run], tmp_path: Path):
    run = trained("image")
    run.export("field", tmp_path / "a.safetensors")
    loaded = fieldengine.load(tmp_path / "a.safetensors")
    assert loaded.metrics == run.metrics
    assert loaded.metrics["psnr"] > 0
    assert loaded.folder is None
    assert loaded.status == "done"
    loaded.export("field", tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_field_file_has_no_data_to_be_scored_on_and_says_so(trained: Callable[[str], Run], tmp_path: Path):
    trained("image").export("field", tmp_path / "field.safetensors")
    with pytest.raises(RunError, match="holds no data"):
        fieldengine.load(tmp_path / "field.safetensors").evaluate()


def test_it_does_not_matter_from_where_it_is_opened(
    trained: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = trained("image")
    run.export("field", tmp_path / "field.safetensors")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "field.safetensors").rename(tmp_path / "elsewhere" / "f.safetensors")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with torch.no_grad():
        assert torch.equal(fieldengine.load("f.safetensors").field(places(run)), run.field(places(run)))


def test_a_field_file_holds_json_and_tensors_of_the_field_and_nothing_of_the_data(
    trained: Callable[[str], Run], tmp_path: Path
):
    run = trained("image")
    run.export("field", tmp_path / "field.safetensors")
    with safe_open(tmp_path / "field.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["fieldengine"])
        names = set(file.keys())
    assert names == {f"field.{name}" for name in run.trained.field.state_dict()}
    assert set(header) == {"format", "recipe", "domain", "digest"}
    assert str(tmp_path) not in json.dumps(header), "no path of the run is in it"


@pytest.fixture
def whole(trained: Callable[[str], Run], tmp_path: Path) -> Path:
    path = tmp_path / "field.safetensors"
    trained("image").export("field", path)
    return path


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_file_that_is_cut_short_is_a_run_error(whole: Path, keep: int):
    whole.write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"field\.safetensors: is not a field file, or is cut short"):
        fieldengine.load(whole)


@pytest.mark.parametrize("content", [b"not a field", b"\x00" * 4096, b"\xff" * 64, b'{"fieldengine": {}}'])
def test_a_file_of_something_else_is_a_run_error(tmp_path: Path, content: bytes):
    path = tmp_path / "field.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"field\.safetensors"):
        fieldengine.load(path)


def rewritten(path: Path, change: Callable[[Any, dict[str, Tensor]], Any]) -> None:
    """The file with another header or other tensors."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["fieldengine"])
    tensors = load_file(path)
    header = change(header, tensors) or header
    if isinstance(header, dict) and "digest" in header:
        header["digest"] = digest(tensors)
    save_file(tensors, path, metadata={"fieldengine": json.dumps(header)})


TABLE = {"type": "hash_grid", "n_levels": 32, "log2_table": 24, "finest": 100000}
CHANGES: dict[str, tuple[Callable[[Any, dict[str, Tensor]], Any], str]] = {
    "a newer format": (lambda header, tensors: header.update(format=3), "has format 3"),
    "a list": (lambda header, tensors: [1], "not one that"),
    "no domain": (lambda header, tensors: {"format": 1, "recipe": {}}, "not one that"),
    "no recipe": (lambda header, tensors: header.pop("recipe") and None, "damaged"),
    "a recipe without a renderer": (lambda header, tensors: header["recipe"].pop("renderer") and None, "damaged"),
    "a recipe that is text": (lambda header, tensors: header.update(recipe="relu"), "damaged"),
    "a domain that is text": (lambda header, tensors: header.update(domain="plane"), "damaged"),
    "a box of one corner": (lambda header, tensors: header["domain"].update(aabb=[[0, 0]]), "damaged"),
    "a box of letters": (lambda header, tensors: header["domain"].update(aabb=[["a"], ["b"]]), "damaged"),
    "a box without extent": (lambda header, tensors: header["domain"].update(aabb=[[0, 0], [0, 0]]), "holds nothing"),
    "a box of no corner": (lambda header, tensors: header["domain"].update(aabb=[[], []]), "of 0 and 0 numbers"),
    "a box of two kinds": (lambda header, tensors: header["domain"].update(aabb=[[0], [1, 1]]), "of 1 and 2 numbers"),
    "a box of boxes": (lambda header, tensors: header["domain"].update(aabb=[[[]], [1]]), "damaged"),
    "a box turned over": (lambda header, tensors: header["domain"].update(aabb=[[1, 1], [0, 0]]), "holds nothing"),
    "a box without end": (lambda header, tensors: header["domain"].update(aabb=[[0, 0], [1, 1e39]]), "holds nothing"),
    "less than no values": (lambda header, tensors: header["domain"].update(out_dim=-1), "-1 numbers per point"),
    "layers without end": (lambda header, tensors: header["recipe"]["field"].update(depth=10**6), "or equal to 1000"),
    "a table that the file does not hold": (
        lambda header, tensors: header["recipe"]["field"].update(encoding=TABLE),
        "which the file does not hold",
    ),
    "layers that the file does not hold": (
        lambda header, tensors: header["recipe"]["field"].update(width=10**8), "which the file does not hold",
    ),
    "an unknown grid": (lambda header, tensors: header["domain"]["grid"].update(kind="eye"), "damaged"),
    "a grid without a size": (lambda header, tensors: header["domain"]["grid"].pop("shape") and None, "damaged"),
    "a tensor too few": (lambda header, tensors: tensors.pop("field.mlp.layers.1.bias") is None, "is missing"),
    "a tensor too many": (
        lambda header, tensors: tensors.update({"field.extra": torch.zeros(1)}), "is not part of this field",
    ),
    "a tensor of another shape": (
        lambda header, tensors: tensors.update({"field.mlp.layers.1.bias": torch.zeros(7)}), r"has shape \(7,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_field_file_that_was_tampered_with_is_refused_with_what_is_wrong(whole: Path, name: str):
    change, complaint = CHANGES[name]
    rewritten(whole, change)
    with pytest.raises(FieldEngineError, match=complaint):
        fieldengine.load(whole)


@pytest.mark.parametrize("activation", ["wire", "finer_wavelet"])
def test_complex_weights_of_one_output_are_written(
    ball: Path, scene: Callable[[str], Path], tmp_path: Path, activation: str
):
    field = f"field: {{encoding: identity, activation: {activation}, width: 8, depth: 1}}\ntraining: {{steps: 1}}\n"
    run = fieldengine.train(
        scene(f"dataset: {{type: mesh, path: {ball}, n_samples: 1000}}\n{field}"), out=tmp_path / "r"
    )
    run.export("field", tmp_path / "f.safetensors")
    x = places(run)
    assert torch.equal(fieldengine.load(tmp_path / "f.safetensors").field(x), run.field(x))


def test_a_bit_that_flipped_is_noticed(whole: Path):
    data = bytearray(whole.read_bytes())
    data[-3] ^= 64
    whole.write_bytes(data)
    with pytest.raises(RunError, match="its numbers do not match its checksum"):
        fieldengine.load(whole)


def test_metadata_that_nest_without_end_are_refused(whole: Path):
    save_file(load_file(whole), whole, metadata={"fieldengine": "[" * 100_000 + "]" * 100_000})
    with pytest.raises(RunError, match="is not a field file"):
        fieldengine.load(whole)


@pytest.mark.parametrize("kind", ["image", "mesh"])
def test_a_file_of_format_1_is_still_read(trained: Callable[[str], Run], tmp_path: Path, kind: str):
    path = tmp_path / "old.safetensors"
    run = trained(kind)
    run.export("field", path)

    def older(header: Any, _: dict[str, Tensor]) -> None:
        header["format"] = 1
        del header["digest"], header["domain"]["n_cameras"]
        grid = header["domain"].pop("grid")
        if grid["kind"] == "camera":
            del grid["name"], grid["parameters"]
        else:
            grid = {"kind": "grid", "height": 3, "width": 4, "rows": 3, "columns": 4, "placement": "corners"}
        header["domain"]["sensor"] = grid

    rewritten(path, older)
    with pytest.warns(UserWarning, match="old.safetensors: has format 1, which holds no checksum"):
        found = fieldengine.load(path)
    x = torch.rand(20, found.domain.aabb.dim) - 0.5
    torch.testing.assert_close(found.field(x), run.field(x))
    assert found.domain.grid is not None


def test_another_safetensors_file_is_told_apart(tmp_path: Path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(RunError, match="not one that `fieldengine export field` wrote"):
        fieldengine.load(tmp_path / "other.safetensors")


def test_a_field_of_a_plugin_that_is_not_installed_names_it(whole: Path):
    rewritten(whole, lambda header, tensors: header["recipe"]["field"]["encoding"].update(type="triangles"))
    with pytest.raises(FieldEngineError, match='no encoding "triangles"'):
        fieldengine.load(whole)


def test_what_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(RunError, match="no such run folder or field file"):
        fieldengine.load(tmp_path / "nothing.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="is not a run folder"):
        fieldengine.load(tmp_path / "empty")
