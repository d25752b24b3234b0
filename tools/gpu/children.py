"""Each part in a process of its own: after one bad CUDA kernel, every later call in the same process can fail.

The child writes a line of JSON for each check that it begins and each row that it finds. If it dies, another child
continues with the check after the one that killed it.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gpu.rows import Check, Row, late, performed, tell

LOST = 70  # exit code of a child whose CUDA context is broken; its last row says why
GRACE = 5.0  # seconds that a child gets to stop by itself


def parent(part: str, command: Sequence[str], seconds: float) -> Iterator[Row]:
    """The rows of `command`, restarted as often as needed. A check that kills its process becomes a failed row."""
    end, first = time.time() + seconds, 0  # the clock that a child shares
    while first is not None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.jsonl"
            given = ["--child", str(file), "--parts", part, "--first", str(first), "--end", str(end)]
            code = _run([*command, *given], end + GRACE - time.time())
            lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        yield from (Row(**line["row"]) for line in lines if "row" in line)
        begun = next((line for line in reversed(lines) if "begun" in line), None)
        what, after = (begun["what"], begun["after"]) if begun else (part, [])
        if code is None:
            yield Row(what, "failed", detail="killed while it ran, out of time", part=part)
            yield from [late(part, after)] if after else []
        elif code not in (0, LOST):
            yield Row(what, "failed", detail=f"its process ended with {_said(code)}", part=part)
        first = begun["begun"] + 1 if begun and code else None


def child(part: str, checks: Sequence[Check], end: float, first: int, file: Path, lost: Callable[[], bool]) -> int:
    """Perform checks until `end` and write what happens to `file`. Stops if a check breaks CUDA for this process."""
    with file.open("w") as out:

        def write(**line: Any) -> None:
            out.write(json.dumps(line) + "\n")
            out.flush()

        def begun(i: int) -> None:
            write(begun=i, what=checks[i].what, after=[check.what for check in checks[i + 1 :]])

        for row in performed(part, checks, end - time.time(), first, begun):
            tell(row)
            write(row=dataclasses.asdict(row))
            if row.state == "failed" and lost():
                return LOST
    return 0


def _run(command: Sequence[str], seconds: float) -> int | None:
    """The exit code; None if it had to be killed. Its output goes to the error stream, away from the table."""
    try:
        return subprocess.run(command, stdout=sys.stderr, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        return None


def _said(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
