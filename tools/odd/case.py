"""A file that a script wrote, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """`judge` reads `path` through the engine and returns "right", "refused: REASON", or "WRONG: WHAT"."""

    name: str
    path: Path
    judge: Callable[[Path], str]
