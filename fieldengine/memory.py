"""What the process holds of the machine's memory."""

from __future__ import annotations

import ctypes
import sys

import torch

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed for the next allocation, instead of giving it back; for this process.

    Training frees and takes the same sizes in every step. By default each large tensor is new memory from the system,
    which fills it with zeros page by page: as long as the computation itself. Returns whether the C library can.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # a C library other than glibc
        return False
    return bool(mallopt(MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(TRIM_THRESHOLD, 1 << 30))


def peak_memory_mb(device: torch.device) -> float | None:
    """Most memory held at once: of the GPU, or of this process since it began; None where the system does not tell."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 2**20 if sys.platform == "darwin" else peak / 2**10, 1)
