"""How a cell of a sweep stands, read from its run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ERROR = "error: "  # what a cell's process writes before the reason it ends for


def summary_of(folder: Path) -> dict[str, Any]:
    """The summary of a run, empty where there is none yet."""
    try:
        return json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):  # stopped before it was written
        return {}


def is_done(folder: Path) -> bool:
    return summary_of(folder).get("status") == "done"
