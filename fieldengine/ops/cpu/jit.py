"""How a kernel is compiled and shared among threads.

A kernel is a function `kernel(first, last, *arrays)` that does items first..last-1 and touches nothing that another
part touches, so results do not depend on how many threads there are. It holds no lock while it runs. Threads are
ours and not numba's: numba's own pools need system libraries, or end the program when two threads call at once.
"""

from __future__ import annotations

import functools
import itertools
import os
import stat
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numba.core import config


def jit(function: Callable[..., Any]) -> Any:
    """Compile on first use for the types it is called with; keep the machine code on disk for the next process."""
    return cached(numba.njit(nogil=True, error_model="numpy")(function))


def cached(compiled: Any) -> Any:
    """Keep a compiled function's machine code beside its source, in the home folder, or else among temporary files."""
    try:
        compiled.enable_caching()
    except RuntimeError:  # neither beside the source nor in the home folder can anything be written
        settings: Any = config
        before, settings.CACHE_DIR = settings.CACHE_DIR, _private_folder()
        compiled.enable_caching()
        settings.CACHE_DIR = before
    return compiled


@functools.cache
def _private_folder() -> str:
    """A folder for machine code among the temporary files: this user's own, for code from anyone else must not run."""
    folder = Path(tempfile.gettempdir()) / f"fieldengine-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    safe = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return str(folder) if safe else tempfile.mkdtemp(prefix="fieldengine-kernels-")


def share(kernel: Any, n: int, *arrays: Any, least: int = 1) -> None:
    """Run `kernel(first, last, *arrays)` over 0..n-1, split evenly among torch's number of threads.

    Args:
        least: a part is not made smaller than this, nor given a border that is no multiple of it.
    """
    threads = torch.get_num_threads()
    part = max(least, -(-n // (threads * least)) * least)
    parts = [(first, min(first + part, n)) for first in range(0, n, part)]
    run_parts(kernel, parts, *arrays)


def whole_rays(ray_indices: Any) -> list[tuple[int, int]]:
    """Parts of packed samples of about equal size, no ray cut in two."""
    m, threads = len(ray_indices), torch.get_num_threads()
    inner = (int(np.searchsorted(ray_indices, ray_indices[m * i // threads])) for i in range(1, threads) if m)
    borders = sorted({0, *inner, m})
    return list(itertools.pairwise(borders))


def run_parts(kernel: Any, parts: list[tuple[int, int]], *arrays: Any) -> list[Any]:
    """Run `kernel(first, last, *arrays)` for every part, as many at once as torch has threads.

    Returns their results.
    """
    results: list[Any] = [None] * len(parts)
    queue = enumerate(parts)  # taking the next part is atomic

    def work() -> None:
        for number, (first, last) in queue:
            results[number] = kernel(first, last, *arrays)

    threads = min(torch.get_num_threads(), len(parts))
    helpers = [_pool(os.getpid()).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.result()
    return results


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The helper threads of a process; a forked child, whose parent's threads are gone, gets its own."""
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="fieldengine")
