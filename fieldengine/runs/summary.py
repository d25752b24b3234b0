"""summary.json of a run folder: what a training was and what came of it. Needs no torch, which takes seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldengine.errors import RunError
from fieldengine.export.files import atomic

NAME = "summary.json"


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    with atomic(folder / NAME) as file:
        file.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary, empty where there is none yet. Raises RunError for what is none."""
    path = folder / NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as reason:
        raise RunError(path, f"cannot be read as JSON: {reason}") from reason
    if not isinstance(found, dict) or not isinstance(found.get("metrics", {}), dict):
        raise RunError(path, "is not the summary of a run")
    return found
