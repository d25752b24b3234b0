"""Check on a CUDA machine that everything works and equals the CPU's numbers, and measure its speed, in 8 minutes.

python tools/gpu_check.py                         print a table, write gpu_check.json
python tools/gpu_check.py --docs                  also write the speed into docs/benchmarks.md
python tools/gpu_check.py --device cpu --quick    try this script itself, in seconds and without a GPU

It runs from the working tree. Real data is taken from the folder FIELDENGINE_DATA. Exit codes: 0 everything is equal
within tolerance; 1 something differs, failed, or was not reached in time; 3 there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch
from gpu import ROOT, children, page
from gpu.machine import complaint
from gpu.rows import BAD, Check, Plan, Row, first_line, performed, tell

SECONDS = {"machine": 20, "operations": 140, "scenes": 180, "steps": 120}  # per part; 8 minutes are 480
UNHURRIED = 3600  # seconds per part on a CPU, where the 8 minutes do not count
DATA = Path(os.environ.get("FIELDENGINE_DATA", ROOT.parent / "shared" / "data"))
NO_GPU = 3


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: nothing was checked", file=sys.stderr)
        return NO_GPU
    plan = Plan(options.device, options.quick, DATA)
    if options.child:
        (part,) = options.parts
        return children.child(part, checks_of(part, plan), options.end, options.first, options.child, lost)
    if complaint():
        print(complaint(), file=sys.stderr)
    with threads(1 if plan.quick else torch.get_num_threads()):
        rows = list(all_rows(options.parts, plan))
    code = int(any(row.state in BAD for row in rows))
    print(page.table(rows))
    print(f"\n{page.closing(rows)}")
    options.out.write_text(json.dumps(page.report(rows, plan.device, code), indent=2, allow_nan=False) + "\n")
    if options.docs:
        page.put_into(ROOT / "docs" / "benchmarks.md", rows)
    return code


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few steps")
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"), metavar="FILE", help="where the JSON goes")
    parser.add_argument("--docs", action="store_true", help="fill docs/benchmarks.md")
    parser.add_argument("--parts", nargs="+", choices=tuple(SECONDS), metavar="PART", help=", ".join(SECONDS))
    for name, kind in (("--child", Path), ("--first", int), ("--end", float)):  # of a part's own process
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    # the time of a step on a CPU says nothing about a GPU
    options.parts = options.parts or [part for part in SECONDS if part != "steps" or options.device == "cuda"]
    return options


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Inside the block torch uses n threads; tiny tensors gain nothing from more than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def all_rows(parts: Sequence[str], plan: Plan) -> Iterator[Row]:
    """Part by part. Time that a part does not use goes to the next."""
    end = time.monotonic()
    for part in parts:
        end += SECONDS[part]
        if plan.device == "cuda":
            command = [sys.executable, __file__, *(["--quick"] if plan.quick else [])]
            yield from children.parent(part, command, end - time.monotonic())
        else:
            for row in performed(part, checks_of(part, plan), UNHURRIED):
                tell(row)
                yield row


def checks_of(part: str, plan: Plan) -> list[Check]:
    """The checks of a part. If it cannot be imported, its only check says why."""
    try:
        return import_module(f"gpu.{part}").checks(plan)
    except Exception as reason:
        row = Row(part, "failed", detail="; ".join(text for text in (first_line(reason), complaint()) if text))
        return [Check(part, lambda _: [row])]


def lost() -> bool:
    """Whether CUDA no longer works in this process."""
    try:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
