"""How long a warm call takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

WARM = 3


def milliseconds(call: Callable[[], Any], device: str, repeats: int = 20) -> float:
    """The median over calls. CUDA is timed between events, which includes gaps while the GPU waits for the host."""
    for _ in range(WARM):
        call()
    return statistics.median(each(call, device, repeats))


def each(call: Callable[[], Any], device: str, repeats: int) -> list[float]:
    """Milliseconds of each of some calls."""
    if device == "cpu":
        return [_on_the_clock(call) for _ in range(repeats)]
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for begin, end in pairs:
        begin.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in pairs]


def _on_the_clock(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - started)
