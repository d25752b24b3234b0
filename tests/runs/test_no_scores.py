"""A training that cannot be scored says so."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import fieldengine

SCENE = """
dataset: {type: procedural, views: 2, test_views: 1, size: 10}
field: {encoding: identity, direction_encoding: identity, width: 8, depth: 1}
training: {steps: 1, batch_size: 8}
"""


@pytest.mark.parametrize("split", ["val", "test"])
def test_splits_that_are_not_there_are_named_at_the_end(split: str, scene: Callable[[str], Path], tmp_path: Path):
    console = Console(record=True, width=500, file=io.StringIO())
    run = fieldengine.train(
        scene(SCENE), [f"evaluation.splits=[{split}]"], out=tmp_path / "run", quiet=False, console=console
    )
    said = console.export_text()
    assert ("no scores, as the data has no split val; it has train, test" in said) == (split == "val")
    assert bool(run.metrics) == (split == "test")
