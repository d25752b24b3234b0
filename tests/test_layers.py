"""Arrows of import point one way: down this list to what stands higher, and never in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fieldengine"
PLUGINS = ROOT / "plugins" / "fieldengine_plugins"

ORDER = [
    "types", "errors", "memory", "spectrum", "progress", "files", "kinds", "api", "plugins", "config", "ops",
    "precision", "ntk", "cameras", "domain", "fields", "operators", "ray_samplers", "renderers", "export", "datasets",
    "metrics", "training", "runs", "testing", "report", "sweep", "cli",
]  # fmt: skip
OPEN_TO_PLUGINS = ("fieldengine.api", "fieldengine.fields", "fieldengine.ops", "fieldengine.ntk", "fieldengine_plugins")


def imports(path: Path) -> set[str]:
    """Every module of ours that a file imports, those inside functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0].startswith("fieldengine")}


def layer(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ORDER else None


def engine_files() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in ("__init__.py", "__main__.py")]


@pytest.mark.parametrize("path", engine_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_stands_above_it(path: Path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in ORDER, f"{own} has no place in the order of layers"
    for module in imports(path):
        other = layer(module)
        if other is not None and other != own:
            assert ORDER.index(other) < ORDER.index(own), (
                f"{path.name} ({own}) imports {module} ({other}), which stands below it"
            )


def test_no_module_is_part_of_a_circle():
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in engine_files()}
    arrows = {
        name: {m for i in imports(path) for m in (i, i.rpartition(".")[0]) if m in names}
        for name, path in names.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for other in sorted(arrows[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in names:
        visit(name, ())


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=lambda path: str(path.relative_to(PLUGINS)))
def test_a_plugin_imports_what_a_stranger_may(path: Path):
    for module in imports(path):
        assert module.startswith(OPEN_TO_PLUGINS), f"{path.name} imports {module}"


def test_the_engine_names_no_method_of_a_paper():
    methods = ("siren", "finer", "hash_grid.Hash", "fieldengine_plugins")
    for path in engine_files():
        names = {module.lower() for module in imports(path)}
        assert not any(method.lower() in name for method in methods for name in names), path
