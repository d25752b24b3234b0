"""A stranger's package: built and installed as any other, then named in a scene."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import fieldengine
from fieldengine.cli import app as cli
from fieldengine.errors import FieldEngineError
from fieldengine.plugins.registry import Registry

PACKAGE = Path(__file__).resolve().parent / "third_party" / "fieldengine-triangle"
SCENE = """
dataset: {{type: image, path: {photo}}}
field: {{encoding: {{type: triangle, octaves: 3}}, activation: relu, width: 8, depth: 1}}
training: {{steps: 4, batch_size: 64}}
"""
MINE = {"kind": "encodings", "name": "triangle", "distribution": "fieldengine-triangle", "version": "0.3.1"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package, apart from everything else."""
    target = tmp_path_factory.mktemp("site")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *quiet, "--no-deps", "--no-index", "--no-build-isolation",
         "--target", str(target), str(PACKAGE)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def here(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is installed in this process too."""
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("fieldengine_triangle", None)


@pytest.fixture
def path(photo: Path, scene: Callable[[str], Path]) -> Path:
    return scene(SCENE.format(photo=photo))


def test_the_package_is_one_small_file_that_imports_the_api_alone():
    (file,) = PACKAGE.rglob("*.py")
    text = file.read_text(encoding="utf-8")
    modules = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {module for module in modules if str(module).startswith("fieldengine")} == {"fieldengine.api"}
    assert len(text.splitlines()) < 60


def test_a_scene_that_names_it_trains_and_remembers_where_it_came_from(
    site: Path, path: Path, tmp_path: Path, fieldengine_command: Callable[..., Any]
):
    search = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    done = fieldengine_command("train", path, "--out", tmp_path / "run", env={"PYTHONPATH": search})
    assert done.returncode == 0, done.stderr
    assert "triangle" in done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert MINE in summary["plugins"]
    assert summary["status"] == "done"
    assert summary["metrics"]["psnr"] > 0
    with pytest.raises(FieldEngineError, match='no encoding "triangle"'):
        fieldengine.load(tmp_path / "run")  # here it is not installed


@pytest.mark.usefixtures("here")
def test_a_run_that_used_it_is_loaded_and_exported_like_any_other(path: Path, tmp_path: Path):
    run = fieldengine.train(path, out=tmp_path / "run")
    x = 2 * torch.rand(50, 2, generator=torch.Generator().manual_seed(0)) - 1
    run.export("field", tmp_path / "field.safetensors")
    with torch.no_grad():
        for place in ("run", "field.safetensors"):
            assert torch.equal(fieldengine.load(tmp_path / place).field(x), run.field(x))


@pytest.mark.usefixtures("here")
def test_the_list_of_plugins_shows_its_distribution_and_version(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fieldengine.cli.plugins.out_console", Console(width=200))
    found = CliRunner().invoke(cli.app, ["plugins", "list"], catch_exceptions=False)
    (line,) = [line for line in found.stdout.splitlines() if "fieldengine-triangle" in line]
    assert line.split()[:4] == ["encodings", "triangle", "fieldengine-triangle", "0.3.1"]
    assert "Triangle waves at growing frequencies" in line


@pytest.mark.usefixtures("here")
def test_its_keys_are_described_and_checked_like_the_engines_own(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fieldengine.cli.plugins.out_console", Console(width=200))
    found = CliRunner().invoke(cli.app, ["plugins", "show", "triangle"], catch_exceptions=False)
    for part in ("fieldengine-triangle 0.3.1", "octaves", "int >= 1 <= 20", "number of frequencies L"):
        assert part in found.stdout
    with pytest.raises(FieldEngineError, match=r"field\.encoding\.octaves.*less than or equal to 20"):
        fieldengine.train(path, {"field.encoding.octaves": 21})


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("value", ["1", "fieldengine-triangle", "other, Fieldengine-Triangle"])
def test_it_can_be_switched_off(path: Path, monkeypatch: pytest.MonkeyPatch, value: str):
    assert "triangle" in Registry().names("encodings")
    monkeypatch.setenv("FIELDENGINE_DISABLE_PLUGINS", value)
    assert "triangle" not in Registry().names("encodings")
    with pytest.raises(FieldEngineError, match='no encoding "triangle"'):
        fieldengine.train(path)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_it_is_what_it_says(dim: int):
    module = Registry().find("encodings", "triangle").load()(octaves=2).build(dim)
    x = torch.tensor([[-1.0], [-0.5], [0.0], [0.25], [1.0]]).expand(5, dim)
    found = module(x)
    assert found.shape == (5, module.out_dim)
    # periods 2 and 1, each with a peak at zero, and a quarter of a period earlier
    expected = torch.tensor(
        [
            [-1.0, 0.0, 1.0, 0.0],
            [0.0, 1.0, -1.0, 0.0],
            [1.0, 0.0, 1.0, 0.0],
            [0.5, -0.5, 0.0, -1.0],
            [-1.0, 0.0, 1.0, 0.0],
        ]
    )
    torch.testing.assert_close(found.view(5, 4, dim)[:, :, 0], expected)
