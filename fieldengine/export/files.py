"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fieldengine.errors import RunError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its ending, that takes its place when the block ends without an error.

    Raises RunError where the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as reason:
        raise RunError(path, f"cannot be written: {reason.strerror}") from reason
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except IsADirectoryError as reason:
        raise RunError(path, "is a folder; name a file") from reason
    except OSError as reason:
        raise RunError(path, f"cannot be written: {reason.strerror or reason}") from reason
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def require_suffix(path: Path, known: tuple[str, ...], what: str) -> str:
    """The ending of a file to be written, checked before any work is done for it. Raises RunError."""
    suffix = path.suffix.lower()
    if suffix not in known:
        raise RunError(path, f"{what} ends in {', '.join(known)}; found {suffix or 'no ending'}")
    if path.is_dir():
        raise RunError(path, "is a folder; name a file")
    return suffix


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
