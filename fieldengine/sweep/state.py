"""How a cell of a sweep stands, read from its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fieldengine.errors import RunError
from fieldengine.runs.summary import read_summary

ERROR = "error: "  # what a cell's process writes before the reason it ends for


def summary_of(folder: Path) -> dict[str, Any]:
    """The summary of a run, empty where there is none that can be read: the cell is then run anew."""
    try:
        return read_summary(folder)
    except RunError:
        return {}


def is_done(folder: Path) -> bool:
    return summary_of(folder).get("status") == "done"
