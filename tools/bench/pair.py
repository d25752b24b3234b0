"""Ours and a rival in turn: each in a process of its own, both in one process group, so neither tunes the other.

A script of this folder calls `main` with what to time; run by itself it prints a list of results as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Step = Callable[[], Any]
Setup = Callable[[], Step]
PAIRS = 5
ROOFLINE = "roofline"


@dataclass(frozen=True)
class Question:
    """What is asked, who the rival is, how much is asked for, and what makes a step of each.

    Attributes:
        gflop: of the matrix products in a step; their time at torch's own rate is the floor it is held against.
        memory: how much is asked for of the peaks of the two processes; empty asks nothing.
    """

    text: str
    rival: str
    asked: str
    theirs: Setup
    ours: Setup
    gflop: float | None = None
    memory: str = ""


def main(*questions: Question) -> None:
    """Answer the questions, or, as a worker, do one side's steps."""
    if len(sys.argv) > 2:
        _work(questions[int(sys.argv[1])], sys.argv[2])
    else:
        print(json.dumps([row for i, question in enumerate(questions) for row in answers(i, question)]))


def answers(number: int, question: Question) -> list[dict[str, Any]]:
    """The time, and the memory where it is asked for."""
    timed = compare(number, question)
    if not question.memory:
        return [timed]
    rival, ours = timed["rival_peak_mb"], timed["ours_peak_mb"]
    text = f"{question.text}, memory of the process (here: MB)"
    peaks = {"question": text, "rival": question.rival, "asked": question.memory}
    return [timed, {**peaks, "rival_value": rival, "ours_value": ours, "ratio": ours / rival}]


def compare(number: int, question: Question) -> dict[str, Any]:
    """Start both, let them warm up, then time them in turn."""
    theirs, ours = _start(number, "rival"), _start(number, "ours")
    for worker in (theirs, ours):
        _ask(worker, "step")
    pairs = [(_ask(theirs, "step")["seconds"], _ask(ours, "step")["seconds"]) for _ in range(PAIRS)]
    peaks = [_ask(worker, "memory")["mb"] for worker in (theirs, ours)]
    roofline = _ask(ours, ROOFLINE)  # whose own memory is not counted
    for worker in (theirs, ours):
        worker.kill()
        worker.wait()
    ours_value = statistics.median(b for _, b in pairs)
    return {
        "question": question.text,
        "rival": question.rival,
        "asked": question.asked,
        "rival_value": statistics.median(a for a, _ in pairs),
        "ours_value": ours_value,
        "floor": question.gflop and question.gflop / roofline["gemm_gflops"] / ours_value,
        "ratio": statistics.median(a / b for a, b in pairs),
        "pairs": pairs,
        "rival_peak_mb": peaks[0],
        "ours_peak_mb": peaks[1],
        **roofline,
    }


def seconds(step: Step) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def roofline() -> dict[str, float]:
    """What this process can do at best: matrix products (4096 x 256 x 256) in GFLOP/s, copies in GB/s."""
    import torch

    from fieldengine.precision import matrix_products

    a, b, out = torch.randn(4096, 256), torch.randn(256, 256), torch.empty(4096, 256)
    big, copy = torch.randn(16 << 20), torch.empty(16 << 20)

    def best(step: Step) -> float:
        return min(seconds(step) for _ in range(30))

    plain = 2 * 4096 * 256 * 256 / best(lambda: torch.mm(a, b, out=out)) / 1e9
    with matrix_products("float32", torch.device("cpu")):
        exact = 2 * 4096 * 256 * 256 / best(lambda: torch.mm(a, b)) / 1e9
    c, d = a.bfloat16(), b.bfloat16()
    return {
        "gemm_gflops": plain,
        "gemm_best_gflops": exact,
        "gemm_bfloat16_gflops": 2 * 4096 * 256 * 256 / best(lambda: torch.mm(c, d)) / 1e9,
        "copy_gbs": 2 * 4 * len(big) / best(lambda: copy.copy_(big)) / 1e9,
    }


def _start(number: int, side: str) -> subprocess.Popen[str]:
    # ours starts as the command line does
    env = {**os.environ, "GOMP_SPINCOUNT": "1000"} if side == "ours" else dict(os.environ)
    return subprocess.Popen(
        [sys.executable, sys.argv[0], str(number), side],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )


def _ask(worker: subprocess.Popen[str], what: str) -> dict[str, Any]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(what + "\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        sys.exit(f"{sys.argv[0]}: a worker ended with exit code {worker.wait()}")
    return json.loads(answer)


def _work(question: Question, side: str) -> None:
    if side == "ours":
        from fieldengine.memory import keep_freed_memory

        keep_freed_memory()
    step = (question.theirs if side == "rival" else question.ours)()
    for line in sys.stdin:
        if line.strip() == "step":
            answer = {"seconds": seconds(step)}
        elif line.strip() == "memory":
            answer = {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        else:
            answer = roofline()
        print(json.dumps(answer), flush=True)
