"""Checks and their results. A part is a list of checks, and each check yields rows of the table."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["equal", "measured", "left out", "differs", "failed"]
BAD = ("differs", "failed")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        state: `equal` or `differs` after a comparison, `measured` without one. `left out` has a reason that is no
            fault; anything else that was not checked is `failed`.
        found: the number; for an operation, the largest error relative to the reference's largest number.
        expected: what `found` should be, in the same unit; None for an error, which should be 0.
        within: the allowed difference.
        figures: everything else that was measured; names include the unit.
    """

    what: str
    state: State
    found: float | None = None
    expected: float | None = None
    within: float | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    detail: str = ""
    part: str = ""


@dataclass(frozen=True)
class Check:
    """`run(seconds)` yields rows and should take no longer than that. It may raise any exception."""

    what: str
    run: Callable[[float], Iterable[Row]]


@dataclass(frozen=True)
class Plan:
    """The device, `cuda` or `cpu`; whether sizes are tiny (`quick`); the folder of real data."""

    device: str
    quick: bool
    data: Path


def compared(what: str, found: float, expected: float, within: float, **more: Any) -> Row:
    """A row for a number that should be near `expected`."""
    state: State = "equal" if abs(found - expected) <= within else "differs"  # a nan differs
    return Row(what, state, finite(found), finite(expected), within, **more)


def finite(x: float) -> float | None:
    """None instead of infinities and nan, which JSON cannot hold."""
    return x if math.isfinite(x) else None


def performed(
    part: str, checks: Sequence[Check], seconds: float, first: int = 0, begun: Callable[[int], None] = lambda _: None
) -> Iterator[Row]:
    """The rows of all checks from number `first` on. A check that raises becomes a row, as does running out of time.

    `begun` is called with the number of each check before it runs.
    """
    end = time.monotonic() + seconds
    for i in range(first, len(checks)):
        left = end - time.monotonic()
        if left <= 0:
            yield late(part, [check.what for check in checks[i:]])
            return
        begun(i)
        try:
            for row in checks[i].run(left / (len(checks) - i)):
                yield dataclasses.replace(row, part=part)
        except Exception as reason:  # the other checks go on
            yield Row(checks[i].what, "failed", detail=first_line(reason), part=part)


def tell(row: Row) -> None:
    """Show progress."""
    print(f"{row.part}: {row.what}: {row.state}", file=sys.stderr, flush=True)


def late(part: str, missed: Sequence[str]) -> Row:
    return Row(f"{len(missed)} checks", "failed", detail=f"out of time; not checked: {', '.join(missed)}", part=part)


def first_line(reason: BaseException) -> str:
    """The type of an exception and the first line of its message."""
    lines = str(reason).strip().splitlines()
    return f"{type(reason).__name__}: {lines[0]}" if lines else type(reason).__name__
