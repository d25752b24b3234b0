"""What can go wrong, each with the place where the user can mend it.

Every message is one readable block: where, what was found, what exists, what to do. The command line prints it and
leaves with `exit_code`: 2 when the user's input is wrong, 1 when the work itself failed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar


class FieldEngineError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code: ClassVar[int] = 2


class SceneError(FieldEngineError):
    """A scene file or an override says something the engine cannot accept.

    Attributes:
        message: without its place and key.
        place: file and line, or the override; empty where it is not known.
        file: the scene file, or None where the key came from an override or from Python.
        line: 1-based line in `file`, or None.
        key: dotted key, such as `field.encoding.type`; empty for the whole file.
    """

    def __init__(
        self, message: str, *, place: str = "", file: Path | None = None, line: int | None = None, key: str = ""
    ):
        self.message, self.place, self.file, self.line, self.key = message, place, file, line, key
        head = ": ".join(part for part in (place, key) if part)
        super().__init__(f"{head}: {message}" if head else message)


class DataError(FieldEngineError):
    """A file the user named cannot be used. `path` is that file."""

    def __init__(self, path: Path | str, message: str):
        self.path = Path(path)
        super().__init__(f"{path}: {message}")


class PluginError(FieldEngineError):
    """A plugin cannot be found, loaded or used.

    Attributes:
        distribution: the installed distribution that provides it; empty where none does.
        version: that distribution's version.
        reason: what is wrong with it.
    """

    def __init__(self, reason: str, *, plugin: str = "", distribution: str = "", version: str = ""):
        self.distribution, self.version, self.reason = distribution, version, reason
        source = f" of {distribution} {version}".rstrip() if distribution else ""
        super().__init__(f"{plugin}{source}: {reason}" if plugin else reason)


class RunError(FieldEngineError):
    """A run folder, a checkpoint or a field file cannot be used. `path` is the folder or file."""

    def __init__(self, path: Path | str, message: str):
        self.path = Path(path)
        super().__init__(f"{path}: {message}")


class TrainingError(FieldEngineError):
    """Training itself failed, for example because the loss is no longer finite."""

    exit_code = 1


def is_out_of_memory(reason: BaseException) -> bool:
    """Whether an exception is Python's or torch's way to say that memory is short."""
    if isinstance(reason, MemoryError):
        return True
    return isinstance(reason, RuntimeError) and ("can't allocate" in str(reason) or "out of memory" in str(reason))


def did_you_mean(found: str, existing: Iterable[str]) -> str:
    """` Did you mean "x"?` for the nearest of `existing`, or an empty string where none is near."""
    names = {name.lower(): name for name in existing}
    near = difflib.get_close_matches(found.lower(), names, n=1, cutoff=0.6)
    return f' Did you mean "{names[near[0]]}"?' if near else ""
