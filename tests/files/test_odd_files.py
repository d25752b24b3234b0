"""Hundreds of odd files: each is read right, or refused with its reason."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
FEWEST = {"images": 500, "meshes": 250, "posed": 250}


@pytest.mark.parametrize("kind", FEWEST)
def test_every_odd_file_is_right_or_refused_with_its_reason(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if kind == "images":
        pytest.importorskip("imagecodecs")
        pytest.importorskip("OpenEXR")
    monkeypatch.syspath_prepend(str(TOOLS))
    cases = importlib.import_module(f"odd.{kind}").cases(tmp_path)
    verdicts = {case.name: case.judge(case.path) for case in cases}
    assert {name: verdict for name, verdict in verdicts.items() if verdict.startswith("WRONG")} == {}
    heads = Counter(verdict.partition(":")[0] for verdict in verdicts.values())
    assert set(heads) == {"right", "refused"}
    assert heads.total() >= FEWEST[kind]
