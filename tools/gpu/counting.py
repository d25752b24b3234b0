"""What a block of code asks of the device: kernels launched, waits of the host, and the lines that cause them."""

from __future__ import annotations

import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from gpu import ROOT

LAUNCHES = (
    "cudaLaunchKernel",
    "cudaLaunchKernelExC",
    "cudaLaunchCooperativeKernel",
    "cudaGraphLaunch",
    "cuLaunchKernel",
    "cuLaunchKernelEx",
)
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize")  # not cudaDeviceSynchronize, which the profiler calls itself
# on CUDA the host waits for these operators, because it needs their answer or the shape of their result
ASKING = (
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::repeat_interleave",
    "aten::bincount",
    "aten::equal",
)
SYNCHRONIZING = "called a synchronizing CUDA operation"


@dataclass(frozen=True)
class Counts:
    """What the profiler counted.

    Attributes:
        launches: calls that start a kernel; 0 on a CPU.
        waits: waits of the host for a stream or an event.
        to_host, to_device: copies.
        asking: operators of ASKING; on a CPU this is the most waits that they could cause on CUDA.
        operators: torch's outermost operators on any device; views count, so this estimates launches only roughly.
    """

    launches: int
    waits: int
    to_host: int
    to_device: int
    asking: int
    operators: int


def counted(block: Callable[[], Any], device: str) -> Counts:
    """Run a block under the profiler. It should be warm."""
    cuda = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        block()
        if cuda:
            torch.cuda.synchronize()
    events = profiler.events() or []
    on_device = Counter(event.name for event in events if event.device_type.name == "CUDA")
    on_host = Counter(event.name for event in events if event.device_type.name == "CPU")
    outermost = [event for event in events if _is_operator(event) and not _is_operator(event.cpu_parent)]
    return Counts(
        launches=sum(on_host[name] for name in LAUNCHES),
        waits=sum(on_host[name] for name in WAITS),
        to_host=sum(n for name, n in on_device.items() if name.startswith("Memcpy DtoH")),
        to_device=sum(n for name, n in on_device.items() if name.startswith("Memcpy HtoD")),
        asking=sum(on_host[name] for name in ASKING),
        operators=len(outermost),
    )


def _is_operator(event: Any) -> bool:
    return event is not None and event.name.startswith("aten::")


@contextmanager
def waiting() -> Iterator[Counter[str]]:
    """Inside the block, count each wait for the device by the line of this project that caused it.

    torch warns at each wait. Those in back-propagation come from its own threads, or when it returns.
    """
    places: Counter[str] = Counter()
    lock = threading.Lock()

    def show(message: Warning | str, *others: Any, **more: Any) -> None:
        if SYNCHRONIZING in str(message):
            with lock:
                places[place()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        _warn_of_waits("warn")
        try:
            yield places
        finally:
            _warn_of_waits("default")


def _warn_of_waits(mode: str) -> None:
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode(mode)


def place() -> str:
    """The innermost line on the stack that belongs to this project, but not to tools/gpu."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and not path.is_relative_to(Path(__file__).parent):
            return f"{path.relative_to(ROOT)}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "outside this project"
