"""The Gram matrix of sparse rows on the CPU: `fieldengine.ops.sparse_gram`, without sorting.

A hash table leads from an entry to the last value that lies there, and each value to the one before.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fieldengine.ops.cpu.jit import jit


def sparse_gram(item: Tensor, entry: Tensor, values: Tensor, n: int) -> Tensor:
    total = torch.zeros(n, n, dtype=values.dtype)
    inputs = item.contiguous().numpy(), entry.contiguous().numpy(), values.detach().contiguous().numpy()
    _add_pairs(*inputs, total.numpy())
    return total


@jit
def _add_pairs(item, entry, values, total):
    m, features = values.shape
    bits = 1
    while 1 << bits < 2 * m:
        bits += 1
    shift, mask = np.uint64(64 - bits), (1 << bits) - 1
    last, before = np.full(1 << bits, -1, np.int64), np.empty(m, np.int64)
    for k in range(m):
        slot = np.int64((np.uint64(entry[k]) * np.uint64(0x9E3779B97F4A7C15)) >> shift)  # Fibonacci hashing
        while last[slot] >= 0 and entry[last[slot]] != entry[k]:
            slot = (slot + 1) & mask
        before[k] = last[slot]
        last[slot] = k
        own = values.dtype.type(0)
        for f in range(features):
            own += values[k, f] * values[k, f]
        total[item[k], item[k]] += own
        other = before[k]
        while other >= 0:
            product = values.dtype.type(0)
            for f in range(features):
                product += values[k, f] * values[other, f]
            total[item[k], item[other]] += product
            total[item[other], item[k]] += product
            other = before[other]
