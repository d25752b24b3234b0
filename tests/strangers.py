"""A stranger's distribution, put beside the installed ones: fixtures for one test, and for all of a file."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

Install = Callable[..., None]
MODULE = "stranger_of_a_seam"


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """Install the text of a module with entry points `kind/name` -> class."""
    yield from _installing(tmp_path / "site")


@pytest.fixture(scope="module")
def install_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """The same for all tests of a file."""
    yield from _installing(tmp_path_factory.mktemp("installed") / "site")


def _installing(site: Path) -> Iterator[Install]:
    with pytest.MonkeyPatch.context() as patch:

        def put(
            text: str,
            plugins: Mapping[str, str],
            *,
            name: str = "stranger",
            version: str = "1.0",
            module: str = MODULE,
        ) -> None:
            info = site / f"{name}-{version}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
            )
            groups: dict[str, list[str]] = {}
            for place, cls in plugins.items():
                kind, plugin = place.split("/")
                groups.setdefault(kind, []).append(f"{plugin} = {module}:{cls}")
            lines = [f"[fieldengine.{kind}]\n" + "\n".join(entries) for kind, entries in groups.items()]
            (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
            (site / f"{module}.py").write_text(textwrap.dedent(text), encoding="utf-8")
            patch.syspath_prepend(site)
            importlib.invalidate_caches()
            patch.delitem(sys.modules, module, raising=False)

        yield put
        for path in site.glob("*.py"):
            sys.modules.pop(path.stem, None)
