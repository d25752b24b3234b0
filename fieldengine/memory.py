"""What the process holds of the machine's memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fieldengine.errors import RunError

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


class TensorsUpTo(TorchFunctionMode):
    """Inside the block torch makes no tensor of more than `most` bytes for what `source` describes.

    Raises RunError at the first one, before its memory is touched: `torch.empty` alone takes none from the system.
    """

    def __init__(self, most: int, source: Path):
        super().__init__()
        self._most, self._source = most, source

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.nbytes > self._most:
            shape = tuple(result.shape)
            raise RunError(self._source, f"describes a field with a tensor of {shape}, which the file does not hold")
        return result
