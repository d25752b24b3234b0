"""tools/gpu_check.py on the CPU: it checks everything, and it finds what is wrong."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fieldengine.ops as ops
from fieldengine.types import Aabb

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"
Check = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a module of tools/ as gpu_check.py does."""
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module


@pytest.fixture
def check(module: Callable[[str], Any], tmp_path: Path) -> Check:
    """Run the script on the CPU. Returns its exit code and its report."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        out = tmp_path / "found.json"
        code = module("gpu_check").main(["--device", "cpu", "--quick", "--out", str(out), *arguments])
        return code, json.loads(out.read_text())

    return run


def test_without_a_gpu_one_loud_line_says_that_nothing_was_checked(tmp_path: Path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    command = [sys.executable, TOOLS / "gpu_check.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines() == ["no CUDA device: nothing was checked"]
    assert not list(tmp_path.iterdir())


def test_every_operation_and_every_ready_scene_is_checked(check: Check, capsys: pytest.CaptureFixture[str]):
    code, report = check()
    rows = report["rows"]
    assert code == report["exit_code"] == 0, [row for row in rows if row["state"] not in ("equal", "measured")]
    assert set(report) == {"date", "device", "card", "exit_code", "rows"}
    assert {tuple(sorted(row)) for row in rows} == {
        ("detail", "expected", "figures", "found", "part", "state", "what", "within")
    }
    referenced = {name for name in dir(ops) if hasattr(getattr(ops, name), "reference")}
    assert {row["what"].split(" ")[0] for row in rows if row["part"] == "operations"} == referenced
    scenes = {path.stem for path in (ROOT / "scenes").glob("*.yaml")}
    assert {row["what"].split(",")[0] for row in rows if row["part"] == "scenes"} == scenes
    assert {row["part"] for row in rows} == {"machine", "operations", "scenes"}
    second = [row for row in rows if "error of second gradient" in row["figures"]]
    assert any(row["what"].startswith("hash_encode") for row in second)
    assert all(row["figures"]["ms"] > 0 for row in rows if row["what"].endswith("(small) float32"))
    ran = {row["figures"]["ran"] for row in rows if row["what"].startswith("hash_encode")}
    assert ran <= {"numba", "reference"}
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| ") for line in lines) == len(rows) + 2


def spoilt(operation: Any, how: str) -> Any:
    """An operation that is wrong in one way, beside its right reference."""

    def wrong(values: torch.Tensor, *others: Any) -> torch.Tensor:
        if how == "raises":
            raise RuntimeError("no kernel\nand more lines")
        error = 1e-3 * values
        return operation(values + (error - error.detach() if how == "gradient" else error), *others)

    wrong.reference = operation.reference  # pyright: ignore[reportFunctionMemberAccess]
    return wrong


def test_what_is_wrong_with_an_operation_is_said_under_its_name(check: Check, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ops, "brand_new", ops.sum_by_ray, raising=False)
    monkeypatch.setattr(ops, "sum_by_ray", spoilt(ops.sum_by_ray, "number"))
    monkeypatch.setattr(ops, "exclusive_sum", spoilt(ops.exclusive_sum, "gradient"))
    monkeypatch.setattr(ops, "argmax_by_ray", spoilt(ops.argmax_by_ray, "raises"))
    code, report = check("--parts", "operations")
    bad = [row for row in report["rows"] if row["state"] not in ("equal", "measured")]
    found = {(row["what"].split(" ")[0], row["state"], row["detail"].partition(";")[0]) for row in bad}
    assert code == 1
    assert found == {
        ("sum_by_ray", "differs", "value: numbers differ"),
        ("exclusive_sum", "differs", "gradient: numbers differ"),
        ("argmax_by_ray", "failed", "RuntimeError: no kernel"),
        ("brand_new", "failed", "LookupError: no inputs are known for it"),
    }


def test_a_part_that_cannot_be_imported_harms_no_other(
    check: Check, module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(sys.modules, "gpu.scenes", raising=False)
    monkeypatch.setitem(sys.modules, "golden", None)
    monkeypatch.setattr(module("gpu.machine"), "PACKAGES", {"no.such.module": "nothing", "torch": "torch"})
    code, report = check("--parts", "scenes", "machine")
    assert code == 1
    assert [row["state"] for row in report["rows"]] == ["failed", "measured", "measured"]
    assert report["rows"][0]["detail"].endswith("missing: nothing")


def test_a_check_that_raises_or_comes_too_late_is_a_row(module: Callable[[str], Any]):
    rows = module("gpu.rows")

    def slow(seconds: float) -> list[Any]:
        assert seconds > 0
        return [rows.compared("a", 1.0, 1.1, 0.2), rows.compared("b", float("nan"), 1.0, 0.2)]

    checks = [rows.Check("slow", slow), rows.Check("broken", lambda _: 1 / 0), rows.Check("last", slow)]
    found = list(rows.performed("some", checks, 60))
    assert [row.state for row in found] == ["equal", "differs", "failed", "equal", "differs"]
    assert (found[2].what, found[2].detail) == ("broken", "ZeroDivisionError: division by zero")
    (late,) = rows.performed("some", checks, 0)
    assert (late.state, late.detail) == ("failed", "out of time; not checked: slow, broken, last")


CHILD = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from gpu import children
from gpu.rows import Check, Row
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
bad = [Row("bad", "failed")]
fine = [Row("fine", "equal")]
checks = [Check("good", lambda _: fine), Check("crash", lambda _: os.abort()), Check("lost", lambda _: bad),
          Check("again", lambda _: fine), Check("hang", lambda _: time.sleep(60)), Check("never", lambda _: fine)]
sys.exit(children.child("part", checks, float(given["--end"]), int(given["--first"]), Path(given["--child"]),
                        lambda: True))
"""


def test_what_kills_its_process_is_a_row_and_the_next_process_goes_on_behind_it(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
):
    children = module("gpu.children")
    monkeypatch.setattr(children, "GRACE", 0.0)
    found = list(children.parent("part", [sys.executable, "-c", CHILD, str(TOOLS)], 3.0))
    assert [(row.what, row.state) for row in found] == [
        ("fine", "equal"),
        ("crash", "failed"),
        ("bad", "failed"),
        ("fine", "equal"),
        ("hang", "failed"),
        ("1 checks", "failed"),
    ]
    assert "SIGABRT" in found[1].detail
    assert found[5].detail.endswith("never")


def test_waits_are_counted_under_the_line_of_this_project_that_caused_them(module: Callable[[str], Any]):
    counting = module("gpu.counting")
    with counting.waiting() as places:
        Aabb.of([0.0], [1.0])
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation (function warn)", UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
    ((place, count),) = places.items()
    assert count == 3
    assert place.startswith("tests/test_gpu_check.py:")
    assert "test_waits_are_counted" in place


def test_the_profiler_sees_operators_and_those_that_ask_for_an_answer(module: Callable[[str], Any]):
    x = torch.arange(4.0)
    counts = module("gpu.counting").counted(lambda: float((x * 2 + 1).sum()), "cpu")
    assert (counts.launches, counts.waits, counts.asking) == (0, 0, 1)
    assert counts.operators >= 4  # a product, two sums and what reads the result


def test_a_step_is_measured(module: Callable[[str], Any], tmp_path: Path):
    plan = module("gpu.rows").Plan("cpu", True, tmp_path)
    (row,) = module("gpu.steps").a_step(plan, "image", "off", 60.0)
    assert row.state == "measured"
    assert row.figures["ms"] > 0
    assert row.figures["operators"] > 50
    assert "dense reference" in row.figures["backends"]
    # indices that a sampler chose are looked at on the host, once a step
    assert row.figures["asking operators"] >= 1


def test_the_speed_goes_between_the_marks_of_the_page(module: Callable[[str], Any], tmp_path: Path):
    page, row = module("gpu.page"), module("gpu.rows").Row
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert text.count(page.BEGIN) == text.count(page.END) == 1
    copy = tmp_path / "benchmarks.md"
    copy.write_text(text, encoding="utf-8")
    rows = [
        row("software", "measured", figures={"Python": "3.12", "torch": "2.11", "triton": "3.6"}, part="machine"),
        row("device", "measured", figures={"card": "a card"}, part="machine"),
        row("image, a step, eager", "measured", figures={"ms": 1.25, "launches": 90.0}, part="steps"),
        row("image, whole", "equal", 41.5, 41.6, 0.5, figures={"s": 3.0, "steps": 1500}, part="scenes"),
    ]
    page.put_into(copy, rows)
    page.put_into(copy, rows)
    before, _, rest = copy.read_text(encoding="utf-8").partition(page.BEGIN)
    block, _, after = rest.partition(page.END)
    assert text.startswith(before)
    assert text.endswith(after)
    assert "on one a card, Python 3.12, torch 2.11, triton 3.6." in block
    assert "| image, a step, eager | 1.25 |  | 90 |" in block
    assert "| image, whole | 41.5 | 41.6 | 3 |  | 1500 | equal |" in block
