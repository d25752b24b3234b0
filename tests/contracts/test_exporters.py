"""What every installed exporter promises: one whole file and one sentence, or a refusal that leaves nothing behind."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fieldengine.errors import FieldEngineError, RunError, SceneError
from fieldengine.export.command import export_file
from fieldengine.export.field import FieldExporter
from fieldengine.plugins.registry import Registry
from fieldengine.renderers.direct import DirectRenderer
from fieldengine.runs.build import TrainedField
from fieldengine.types import Aabb, Domain

REGISTRY = Registry()
BOX = Aabb.of([8.0, -2.0, -7.0], [12.0, 2.0, -3.0])
# an ending that each exporter writes, and options that make it quick; a new exporter gets a line here
SAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "mesh": (".ply", {"resolution": 12}),
    "points": (".ply", {"resolution": 12, "points": 50}),
    "field": (".safetensors", {}),
}


class Ball(nn.Module):
    """A ball of radius 1.5 in the middle of the box, as a signed distance."""

    def __init__(self) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(1.5))

    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.vector_norm(x - BOX.centre, dim=-1) - self.radius, x[:, :0]


class Glow(nn.Module):
    """The same ball as light."""

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(torch.linalg.vector_norm(x - BOX.centre, dim=-1) < 1.5, 1e3, 0.0), x

    def rgb(self, features: Tensor, viewdirs: Tensor, normals: Tensor | None = None) -> Tensor:
        return torch.full((len(features), 3), 0.25)


class Flat(nn.Module):
    """A signal has no surface."""

    def values(self, x: Tensor) -> Tensor:
        return x


class Nothing(Ball):
    """A surface that lies nowhere."""

    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones(len(x)), x[:, :0]


def trained(field: nn.Module) -> TrainedField:
    return TrainedField(field, DirectRenderer(), Domain(task="sdf", aabb=BOX, out_dim=1), {"field": {}, "renderer": {}})


@pytest.fixture(params=REGISTRY.names("exporters"))
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in SAMPLES, f"the exporter {request.param} has no sample in this test; add one"
    return request.param


def test_it_writes_one_whole_file_and_says_one_sentence(name: str, tmp_path: Path):
    suffix, options = SAMPLES[name]
    out = tmp_path / "new folder" / f"ball{suffix}"
    sentence = export_file(trained(Ball()), name, out, options)
    assert sentence.strip()
    assert "\n" not in sentence
    assert out.stat().st_size > 0
    assert [path.name for path in out.parent.iterdir()] == [out.name], "nothing else is left beside it"


def test_it_writes_radiance_as_well_as_surfaces(name: str, tmp_path: Path):
    suffix, options = SAMPLES[name]
    export_file(trained(Glow()), name, tmp_path / f"glow{suffix}", options)
    assert (tmp_path / f"glow{suffix}").stat().st_size > 0


def test_it_writes_the_same_bytes_twice(name: str, tmp_path: Path):
    suffix, options = SAMPLES[name]
    for folder in ("a", "b"):
        export_file(trained(Ball()), name, tmp_path / folder / f"ball{suffix}", options)
    assert (tmp_path / "a" / f"ball{suffix}").read_bytes() == (tmp_path / "b" / f"ball{suffix}").read_bytes()


def test_it_does_not_change_the_field(name: str, tmp_path: Path):
    suffix, options = SAMPLES[name]
    field = Ball()
    export_file(trained(field), name, tmp_path / f"ball{suffix}", options)
    assert field.radius.item() == 1.5
    assert field.radius.grad is None
    assert field.radius.requires_grad


def test_it_replaces_a_file_that_is_there(name: str, tmp_path: Path):
    suffix, options = SAMPLES[name]
    out = tmp_path / f"ball{suffix}"
    out.write_text("old")
    export_file(trained(Ball()), name, out, options)
    assert out.read_bytes()[:3] != b"old"


def test_an_ending_in_capitals_is_the_same_ending(name: str, tmp_path: Path):
    suffix, options = SAMPLES[name]
    out = tmp_path / f"ball{suffix.upper()}"
    export_file(trained(Ball()), name, out, options)
    assert out.stat().st_size > 0


@pytest.mark.parametrize("wrong", ["ball.txt", "ball", "ball.ply.zip"])
def test_a_wrong_ending_is_refused_before_any_work(name: str, tmp_path: Path, wrong: str):
    class Untouchable(Ball):
        def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
            raise AssertionError("the field was asked")

    with pytest.raises(RunError) as caught:
        export_file(trained(Untouchable()), name, tmp_path / wrong, SAMPLES[name][1])
    assert SAMPLES[name][0] in str(caught.value), "the refusal says which endings there are"
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused_in_words(name: str, tmp_path: Path):
    suffix, options = SAMPLES[name]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written"):
        export_file(trained(Ball()), name, tmp_path / "file" / f"ball{suffix}", options)
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(RunError, match="is a folder"):
        export_file(trained(Ball()), name, tmp_path / f"folder{suffix}", options)


def test_a_failure_inside_leaves_the_old_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    suffix, options = SAMPLES[name]
    out = tmp_path / f"ball{suffix}"
    out.write_text("old")

    def full(*arguments: Any, **keywords: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises((OSError, FieldEngineError)):
        export_file(trained(Ball()), name, out, options)
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_full_disk_is_an_error_in_words(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    suffix, options = SAMPLES[name]

    def full(*arguments: Any, **keywords: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        export_file(trained(Ball()), name, tmp_path / f"ball{suffix}", options)


def test_an_unknown_option_is_refused_with_those_there_are(name: str, tmp_path: Path):
    with pytest.raises(SceneError, match="no such key"):
        export_file(trained(Ball()), name, tmp_path / f"ball{SAMPLES[name][0]}", {}, ["colour=red"])


def test_an_unknown_exporter_is_refused_with_those_there_are(tmp_path: Path):
    with pytest.raises(SceneError) as caught:
        export_file(trained(Ball()), "mseh", tmp_path / "ball.ply", {})
    assert all(known in str(caught.value) for known in REGISTRY.names("exporters"))
    assert 'Did you mean "mesh"?' in str(caught.value)


def needs_a_surface(name: str) -> bool:
    return REGISTRY.find("exporters", name).load() is not FieldExporter


def test_a_field_without_a_surface_is_refused_where_one_is_needed(name: str, tmp_path: Path):
    suffix, options = SAMPLES[name]
    out = tmp_path / f"flat{suffix}"
    if needs_a_surface(name):
        with pytest.raises(RunError, match=r"Flat.*no surface"):
            export_file(trained(Flat()), name, out, options)
        assert not list(tmp_path.iterdir())
    else:
        assert export_file(trained(Flat()), name, out, options)


def test_a_surface_that_lies_nowhere_is_said_to_and_leaves_no_file(name: str, tmp_path: Path):
    if needs_a_surface(name):
        suffix, options = SAMPLES[name]
        with pytest.raises(FieldEngineError, match="no surface at level 0"):
            export_file(trained(Nothing()), name, tmp_path / f"none{suffix}", options)
        assert not list(tmp_path.iterdir())


def test_its_options_have_defaults_and_are_said_in_a_line(name: str):
    cls = REGISTRY.find("exporters", name).load()
    assert cls()
    assert (cls.__doc__ or "").strip()
    assert typing.get_type_hints(cls.write).get("return") is str
