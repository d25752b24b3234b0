"""Run every benchmark beside this file; write docs/benchmarks.md and tools/bench/results.json.

Each script answers one question: it runs a rival and ours in turn in one process and prints the ratio as JSON.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main() -> int:
    results = []
    for script in sorted(path for path in HERE.glob("*.py") if path.name != Path(__file__).name):
        print(f"{script.stem} ...", flush=True)
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr)
            print(f"{script.name} failed with exit code {done.returncode}; the page is left as it was")
            return 1
        results.append(json.loads(done.stdout))
        print(f"  {results[-1]['ratio']:.2f} x faster than {results[-1]['rival']}")
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    rows = [
        f"| {r['question']} | {r['rival']} | {r['rival_seconds']:.3f} | {r['ours_seconds']:.3f} | {r['ratio']:.2f} |"
        for r in results
    ]
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    machine = f"{torch.get_num_threads()} threads, {platform.machine()}, {versions}"
    table = [
        "| question | rival | rival, s | ours, s | ratio |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Measured on {machine}.",
    ]
    page = PAGE.read_text()
    block = f"{BEGIN}\n" + "\n".join(table) + f"\n{END}"
    PAGE.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block, page, flags=re.DOTALL))
    print(f"written to {PAGE.relative_to(HERE.parents[1])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
