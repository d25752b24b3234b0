"""The Gram matrix of sparse rows: what a hash table adds to the kernel of points that share some of its entries."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ops.operation import operation

MOST = 1 << 22  # numbers of a table that is kept in between


@operation
def sparse_gram(item: Tensor, entry: Tensor, values: Tensor, n: int) -> Tensor:
    """G_ij = sum over entries e of <A_ie, A_je>: (n, n). No gradient.

    Only pairs that share an entry cost time; an entry that many items have costs the square of their number.

    Args:
        item, entry: (m,) int64, where in A each value lies, in any order; values of one place add up.
        values: (m, F).
        n: items.
    """
    values = values.detach()
    entry, order = entry.sort()
    item, values = item[order], values[order]
    _, run, length = torch.unique_consecutive(entry, return_inverse=True, return_counts=True)
    first, partners = (length.cumsum(0) - length)[run], length[run]
    total = values.new_zeros(n * n)
    for some in torch.arange(len(entry), device=entry.device).split(max(1, MOST // max(1, n))):
        count = partners[some]
        left = some.repeat_interleave(count)
        number = torch.arange(len(left), device=left.device) - (count.cumsum(0) - count).repeat_interleave(count)
        right = first[left] + number
        total.index_add_(0, item[left] * n + item[right], (values[left] * values[right]).sum(1))
    return total.view(n, n)
