"""Which files data were read from, and whether they are still the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
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
    return {Path(os.path.relpath(file, folder)).as_posix(): _of(file) for file in whole}


def read_digests(text: str) -> Digests:
    """What `digests` made, from JSON. Raises ValueError for anything else."""
    try:
        found = json.loads(text)
    except RecursionError as reason:
        raise ValueError("it nests without end") from reason
    if not isinstance(found, dict):
        raise ValueError("it holds no block of files")
    for name, entry in found.items():
        kinds = {key: type(value) for key, value in entry.items()} if isinstance(entry, dict) else {}
        if kinds != {"bytes": int, "sha256": str}:
            raise ValueError(f'"{name}" has no `bytes` and `sha256`')
    return found


def changes(before: Digests, now: Digests) -> list[str]:
    """A clause about each file that is not what it was."""
    found = []
    for name in sorted({*before, *now}):
        if name not in now:
            found.append(f"{name} is gone")
        elif name not in before:
            found.append(f"{name} is new")
        elif before[name] != now[name]:
            old, new = before[name]["bytes"], now[name]["bytes"]
            found.append(f"{name} had {old:,} bytes, has {new:,}" if old != new else f"{name} holds other bytes")
    return found


def _of(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}
    except OSError as reason:
        raise DataError(file, f"cannot be read: {reason.strerror}") from reason
