"""The results as a table, as JSON, and as a section of docs/benchmarks.md."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from gpu.rows import BAD, Row

BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"
HEAD = ("part", "check", "state", "found", "expected", "within", "figures", "remarks")


def table(rows: Sequence[Row]) -> str:
    """All rows in Markdown."""
    return markdown(
        HEAD,
        (
            (row.part, row.what, row.state, row.found, row.expected, row.within, in_words(row.figures), row.detail)
            for row in rows
        ),
    )


def closing(rows: Sequence[Row]) -> str:
    """The number of rows per state, and the rows that are bad."""
    counts = {state: sum(row.state == state for row in rows) for state in ("equal", "measured", "left out", *BAD)}
    bad = [f"  {row.state}: {row.part}: {row.what}: {row.detail}" for row in rows if row.state in BAD]
    return "\n".join([", ".join(f"{n} {state}" for state, n in counts.items()), *bad])


def report(rows: Sequence[Row], device: str, code: int) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "date": date.today().isoformat(),
        "device": device,
        "card": card(rows),
        "exit_code": code,
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def card(rows: Sequence[Row]) -> str:
    return next((str(row.figures["card"]) for row in rows if "card" in row.figures), "unknown")


def put_into(page: Path, rows: Sequence[Row]) -> None:
    """Replace the text between the marks of a page. Raises ValueError if it has none."""
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}")
    block = f"{BEGIN}\n{speed(rows)}\n{END}"
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: block, text, flags=re.DOTALL), encoding="utf-8")


def speed(rows: Sequence[Row]) -> str:
    """GPU and date, then the measured steps, scenes and operations."""
    software = next((row.figures for row in rows if row.what == "software"), {})
    versions = ", ".join(f"{name} {software.get(name)}" for name in ("Python", "torch", "triton"))
    parts = [f"Measured on {date.today().isoformat()} on one {card(rows)}, {versions}."]
    steps = ("ms", "slowest ms", "launches", "waits", "copies to host", "peak MB")
    parts.append(of_part(rows, "steps", "training step", steps))
    parts.append(of_part(rows, "scenes", "training", ("s", "CPU s", "steps"), scored=True))
    operations = ("ms", "ms with gradient", "plain ms", "plain ms with gradient", "launches", "plain launches", "ran")
    parts.append(of_part(rows, "operations", "operation", operations))
    return "\n\n".join(part for part in parts if part)


def of_part(rows: Sequence[Row], part: str, name: str, figures: Sequence[str], *, scored: bool = False) -> str:
    """A table of the rows of a part that have the first of the figures; empty if there are none."""
    found = [row for row in rows if row.part == part and row.figures.get(figures[0]) is not None]
    if not found:
        return ""
    head = [name, *(["score", "expected"] if scored else []), *figures, "state"]
    lines = (
        [row.what, *([row.found, row.expected] if scored else []), *(row.figures.get(f) for f in figures), row.state]
        for row in found
    )
    return markdown(head, lines)


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(shown, line))} |" for line in lines)


def in_words(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in figures.items() if value is not None)


def shown(value: Any) -> str:
    """A number with four digits; a text in one line and with escaped bars."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")
