"""Which files data were read from, and whether they are still the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldengine.errors import DataError

Digests = dict[str, dict[str, Any]]


def digests(files: Sequence[Path]) -> Digests:
    """Of each file its size in bytes and SHA-256, by its path below the folder that they share.

    Raises DataError where one cannot be read.
    """
    whole = [file.absolute() for file in files]
    folder = os.path.commonpath([file.parent for file in whole]) if whole else ""
    return {file.relative_to(folder).as_posix(): _of(file) for file in whole}


def changes(before: Mapping[str, Any], now: Digests) -> list[str]:
    """A clause about each file that is not what it was."""
    found = []
    for name in sorted({*before, *now}):
        if name not in now:
            found.append(f"{name} is gone")
        elif name not in before:
            found.append(f"{name} is new")
        elif before[name] != now[name]:
            old, new = before[name].get("bytes"), now[name]["bytes"]
            found.append(f"{name} had {old:,} bytes, has {new:,}" if old != new else f"{name} holds other bytes")
    return found


def _of(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}
    except OSError as reason:
        raise DataError(file, f"cannot be read: {reason.strerror}") from reason
