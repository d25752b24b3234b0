"""How many threads small work gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def alone_if(small: bool) -> Iterator[None]:
    """Inside the block torch computes in the calling thread, if the work is so small that to wake others takes longer.

    torch's setting holds for the whole process while the block runs; results do not depend on it beyond rounding.
    """
    threads = torch.get_num_threads()
    if not small or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
