"""What several tests share: where the real data is, tiny files to fit, and the command line as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

from fieldengine.metrics import surface as metrics
from fieldengine.runs import train as fitting
from fieldengine.types import RunContext

pytest_plugins = ["tests.strangers"]
ROOT = Path(__file__).resolve().parents[1]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real test data; tests that need it are skipped, and counted, where it is absent."""
    folder = Path(os.environ.get("FIELDENGINE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set FIELDENGINE_DATA")
    return folder


@pytest.fixture
def context() -> RunContext:
    return RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)


@pytest.fixture
def quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarse scores of surfaces and no portrait of a finished run, for tests that look at neither."""
    for name, value in (("CHAMFER_RESOLUTION", 8), ("SURFACE_POINTS", 200), ("IOU_POINTS", 200)):
        monkeypatch.setattr(metrics, name, value)
    monkeypatch.setattr(fitting, "show", lambda *arguments: None)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small smooth colour image, 24 wide and 16 high."""
    y, x = np.mgrid[0:16, 0:24]
    image = np.stack([x / 23, y / 15, 0.5 + 0.5 * np.sin(x / 3)], axis=-1)
    path = tmp_path / "photo.png"
    iio.imwrite(path, (image * 255).round().astype(np.uint8))
    return path


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    """A sphere of radius 2 around (10, 0, -5)."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=2.0)
    mesh.apply_translation([10.0, 0.0, -5.0])
    path = tmp_path / "ball.ply"
    mesh.export(path)
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Callable[[str], Path]:
    """Write a scene file from its text and return its path."""

    def write(text: str, name: str = "scene.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def fieldengine_command(tmp_path: Path) -> Command:
    """Run `fieldengine ARGUMENTS` as a user does, in an empty working directory."""

    def run(*arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 300):
        return subprocess.run(
            [sys.executable, "-m", "fieldengine", *map(str, arguments)],
            cwd=cwd or tmp_path, env={**os.environ, "COLUMNS": "200", **(env or {})}, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip

    return run
