"""The table of keys in docs/files.md is that of the reader."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fieldengine.files import lens, transforms

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("### Keys") : PAGE.index("### Poses")]
ROWS = [line for line in SECTION.splitlines() if line.startswith("| `")]


def keys(row: str) -> set[str]:
    """Those of a row's first column; `k1` to `k6` are six."""
    cell = row.split("|")[1]
    found = set(re.findall(r"`(\w+)`", cell))
    for head, first, last in re.findall(r"`([a-z_]+)(\d)` to `\1(\d)`", cell):
        found |= {f"{head}{i}" for i in range(int(first), int(last) + 1)}
    return found


def listed(word: str) -> set[str]:
    return set().union(*(keys(row) for row in ROWS if word in row.split("|")[2]))


def test_every_key_that_is_used_has_a_row():
    used = {*lens.KEYS, *transforms.OF_FRAMES} - {"x_fov", "y_fov"}  # they stand in the row of the angles
    assert used <= set().union(*(keys(row) for row in ROWS))
    assert {"x_fov", "y_fov"} <= set(re.findall(r"`(\w+)`", ROWS[0]))


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("change nothing", transforms.HARMLESS),
        ("not used", set(transforms.UNUSED)),
        ("refused", set(transforms.REFUSED)),
    ],
)
def test_every_key_that_is_not_used_has_its_row(word: str, known: set[str]):
    assert known <= listed(word)


def test_every_camera_model_is_named():
    (row,) = (row for row in ROWS if row.startswith("| `camera_model`"))
    assert set(re.findall(r"[A-Z_]{6,}", row)) == set(lens.MODELS)


def test_no_key_is_in_two_tables():
    tables = [{*lens.KEYS, *transforms.OF_FRAMES}, transforms.HARMLESS, set(transforms.UNUSED), set(transforms.REFUSED)]
    assert sum(map(len, tables)) == len(set().union(*tables))
