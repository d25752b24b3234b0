"""A stranger's distribution, put beside the installed ones for one test: the fixture `install`."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

Install = Callable[[str, Mapping[str, str]], None]
MODULE = "stranger_of_a_seam"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install the text of a module with entry points `kind/name` -> class."""
    site = tmp_path / "site"

    def put(text: str, plugins: Mapping[str, str]) -> None:
        info = site / "stranger-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        groups: dict[str, list[str]] = {}
        for place, cls in plugins.items():
            kind, name = place.split("/")
            groups.setdefault(kind, []).append(f"{name} = {MODULE}:{cls}")
        lines = [f"[fieldengine.{kind}]\n" + "\n".join(entries) for kind, entries in groups.items()]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (site / f"{MODULE}.py").write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()

    yield put
    sys.modules.pop(MODULE, None)
