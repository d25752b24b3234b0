"""One exporter by name, with its options from the command line or from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldengine.config.document import Node, Origin, from_python, override, parse_override
from fieldengine.config.parse import Reading, parse_plugin
from fieldengine.errors import RunError
from fieldengine.kinds.exporter import Trained
from fieldengine.plugins.registry import Registry


def export_file(
    trained: Trained, kind: str, out: Path, options: Mapping[str, Any], overrides: Sequence[str] = ()
) -> str:
    """Write `out` with the exporter `kind` and return its one sentence about the file.

    Raises SceneError for an unknown exporter or option, RunError for a field or a file that does not suit it.
    """
    origin = Origin(base=Path(), override=f"export {kind}")
    tree = from_python({"type": kind, **options}, origin)
    for text in overrides:
        key, node = parse_override(text)
        tree = override(tree, key, node)
    exporter, _ = parse_plugin("exporters", Node(tree.value, origin), "", Reading(Registry()))
    try:
        return exporter.write(trained, out)
    except ValueError as reason:
        raise RunError(out, f"cannot be written: {reason}") from reason
