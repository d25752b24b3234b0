"""Run the benchmarks beside this file; write docs/benchmarks.md and tools/bench/results.json.

Each script runs a rival and ours in turn and prints the ratio as JSON. `run.py march` runs one and keeps the others'
last results; `run.py page` runs none and writes the page. What takes long runs only when named: `run.py parity`.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
QUESTIONS = ["hash_grid", "march", "full_batch_step", "quality", "ntk_gram", "hooks", "growth", "peak_memory", "lego"]
LONG = ["parity", "samplers"]
RESULTS = HERE / "results.json"
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main() -> int:
    wanted = sys.argv[1:] or QUESTIONS
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [name for name in wanted if name != "page"]:
        print(f"{name} ...", flush=True)
        done = subprocess.run([sys.executable, HERE / f"{name}.py"], capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr)
            print(f"{name}.py failed with exit code {done.returncode}; the page is left as it was")
            return 1
        before[name] = json.loads(done.stdout)
        for result in before[name]:
            print(f"  {result['question']}: {shown(result['ratio'])} ({result['asked'] or 'no bound'})")
    RESULTS.write_text(json.dumps(before, indent=2) + "\n")
    rows = [row(result) for name in QUESTIONS + LONG for result in before.get(name, [])]
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    rates = next(r for name in QUESTIONS for r in before.get(name, []) if "gemm_gflops" in r)
    table = [
        "| question | rival | rival, s | ours, s | ratio | asked | met | floor |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Measured with {torch.get_num_threads()} threads, {platform.machine()}, {versions}.",
        f"In the same processes a product of 4096 x 256 x 256 ran at {rates['gemm_gflops']:.0f} GFLOP/s as torch does",
        f"it by itself, at {rates['gemm_best_gflops']:.0f} as fieldengine asks for it (both float32), and at",
        f"{rates['gemm_bfloat16_gflops']:.0f} in bfloat16; a copy at {rates['copy_gbs']:.0f} GB/s. The floor is the",
        "share of our time that the products of a step would take at the first of these rates.",
    ]
    block = f"{BEGIN}\n" + "\n".join(table) + f"\n{END}"
    PAGE.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block, PAGE.read_text(), flags=re.DOTALL))
    print(f"written to {PAGE.relative_to(HERE.parents[1])}")
    return 0


def row(result: dict[str, Any]) -> str:
    values = shown(result["rival_value"]), shown(result["ours_value"]), shown(result["ratio"])
    floor = f"{result['floor']:.0%}" if result.get("floor") else ""
    asked = result["asked"]
    met = "" if not asked else "yes" if is_met(result) else "no"
    return f"| {result['question']} | {result['rival']} | {' | '.join(values)} | {asked} | {met} | {floor} |"


def is_met(result: dict[str, Any]) -> bool:
    """Whether a figure is as good as was asked: in words, of the ratio, or with a unit of ours and the rival's."""
    theirs, ours, ratio = result["rival_value"], result["ours_value"], result["ratio"]
    words = re.fullmatch(
        r"(at least|at most|below|within)( \+)? ([\d.e-]+)( s| x| MB| dB less| dB)?( \(.*\))?", result["asked"]
    )
    if words is None:
        raise ValueError(f"what is asked is not understood: {result['asked']}")
    how, more, number, unit = words[1], words[2], float(words[3]), (words[4] or "").strip()
    if how == "at least":
        return ratio >= number
    if how == "within":
        return abs(ours - theirs) <= number
    if how == "below":
        return ours < number
    if unit == "s":
        return ours <= number
    if unit == "dB less":
        return theirs - ours <= number
    if more:
        return ours - (theirs or 0.0) <= number
    return ratio <= number


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
