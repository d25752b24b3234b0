"""Write docs/reference.md: every plugin with its keys, from the same docstrings as `fieldengine plugins show`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

from fieldengine.config.describe import described
from fieldengine.config.scene import scene_keys
from fieldengine.plugins.registry import KINDS, OWN_DISTRIBUTION, Plugin, Registry

BAR = "\\|"  # in a table
OUT = Path(__file__).resolve().parents[1] / "docs" / "reference.md"
HEAD = """# Keys of a scene, and the plugins that come with fieldengine

Generated from the docstrings by `make docs`. `fieldengine plugins show NAME` prints the same, also for third-party
plugins; `fieldengine plugins show scene`, or `training`, prints the keys that belong to no plugin.
"""


def page() -> str:
    """The whole page, kinds and names in the order of the registry's kinds and of the alphabet."""
    own = [plugin for plugin in Registry() if plugin.distribution == OWN_DISTRIBUTION]
    parts = [HEAD, f"## The keys of a scene\n\n{table(scene_keys())}\nAdam is the optimiser.\n"]
    for kind in KINDS:
        plugins = sorted((plugin for plugin in own if plugin.kind == kind), key=lambda plugin: plugin.name)
        if plugins:
            parts += [f"## {kind}\n", *(section(plugin) for plugin in plugins)]
    return "\n".join(parts)


def section(plugin: Plugin) -> str:
    """A plugin's docstring verbatim, and its keys as a table."""
    cls = plugin.load()
    text = inspect.cleandoc(cls.__doc__ or "")
    lines = [f"### {plugin.name}\n", f"```text\n{text}\n```\n"]
    keys = list(described(cls))
    return "\n".join([*lines, table(keys)] if keys else lines)


def table(keys: Iterable[tuple[str, str, str, str]]) -> str:
    """Keys with their types, defaults and lines."""
    rows = ["| key | type | default | what it does |", "|---|---|---|---|"]
    for name, kind, default, line in keys:
        shown = default if default in ("required", "by the data") else f"`{default}`"
        rows.append(f"| `{name}` | {kind.replace('|', 'or')} | {shown} | {line.replace('|', BAR)} |")
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
    print(OUT, file=sys.stderr)
