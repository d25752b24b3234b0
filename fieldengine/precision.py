"""How exact matrix products of float32 tensors are, and which of torch's libraries computes them.

torch has two libraries for float32 on a CPU, MKL and oneDNN. It uses oneDNN only where less exact products were
allowed, though on processors without matrix units oneDNN then still computes in full float32, and on some more than
twice as fast as MKL. So full precision is asked for by allowing less wherever a trial shows that nothing is lost.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fieldengine.ops import bfloat16_products
from fieldengine.ops.dense import Products

PRODUCTS: dict[str, Products] = {"float32": "none", "auto": "gradients", "fast": "all", "half": "none"}
STEP = 2.0**-12  # 1 + STEP is a float32 but neither a bfloat16 nor a TF32


@contextmanager
def matrix_products(precision: str, device: torch.device) -> Iterator[None]:
    """Inside the block products of float32 tensors are as exact as `precision` says.

    float32: all of them. auto: in back-propagation our own dense layers may round factors to bfloat16 where the
    processor has units for it, which costs no quality (docs/benchmarks.md). fast: forward, too, and torch's products
    may, or use TF32. half: wide layers take and give bfloat16 tensors (torch.autocast). Both cost some.
    torch's setting holds for the whole process while the block runs.
    """
    before = torch.get_float32_matmul_precision()
    allowed = precision == "fast" or (device.type == "cpu" and _nothing_is_lost())
    torch.set_float32_matmul_precision("medium" if allowed else "highest")
    try:
        # no cache: it would hold the first step's weights as long as the block lasts
        half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "half", cache_enabled=False)
        with half, bfloat16_products(PRODUCTS[precision]):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


_asked = threading.Lock()
_blocks: list[torch.dtype] = []  # for each block that runs, the default from before the first of them


@contextmanager
def float32_by_default() -> Iterator[None]:
    """Inside the block new tensors are float32, whatever `torch.set_default_dtype` said before.

    torch's setting holds for the whole process; the last of several blocks in threads puts it back.
    """
    with _asked:
        _blocks.append(torch.get_default_dtype() if not _blocks else _blocks[0])
        torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        with _asked:
            before = _blocks.pop()
            if not _blocks:
                torch.set_default_dtype(before)


@functools.cache
def _nothing_is_lost() -> bool:
    """Whether the CPU's products are float32 even where torch may use less, in each shape that training meets."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        for rows, inner, columns in (
            (4096, 256, 256),
            (4096, 64, 64),
            (4096, 32, 16),
            (256, 4096, 256),
            (4096, 2, 256),
        ):
            a, b = torch.full((rows, inner), 1.0 + STEP), torch.full((inner, columns), 1.0 + STEP)
            exact = inner * (1.0 + STEP) ** 2
            if float(((a @ b) / exact - 1.0).abs().max()) > STEP / 64:
                return False
    finally:
        torch.set_float32_matmul_precision(before)
    return True
