"""Attention that never stores its matrix: one block of rows at a time, recomputed in back-propagation.

A query that is also a key leaves itself out; torch's own attention would need a mask for that, and takes twice as long
for values of few numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOGITS = {"cpu": 1 << 18, "cuda": 1 << 24}  # per block; on a CPU 1 MB, which stays in the cache
FEWEST = 64  # queries per block; fewer would read and write the sums over keys too often


def attended(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(queries keys') values, where query i leaves out key i: (q, r), (k, r), (k, c) -> (q, c).

    All float32. Carries gradient to all three, no second derivatives.
    """
    return Attended.apply(queries, keys, values)  # pyright: ignore[reportReturnType]


class Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        out = values.new_empty(len(queries), values.shape[1])
        log_sums = queries.new_empty(len(queries), 1)
        for rows in blocks(queries, keys):
            logits = without_own(queries[rows] @ keys.T, rows.start)
            log_sums[rows] = logits.logsumexp(dim=-1, keepdim=True)
            out[rows] = logits.sub_(log_sums[rows]).exp_() @ values
        ctx.save_for_backward(queries, keys, values, out, log_sums)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore
        """With shares P = exp(Q K' - log sums): dV = P' dO, dS = P * (dO V' - dO . O), dQ = dS K, dK = dS' Q."""
        queries, keys, values, out, log_sums = ctx.saved_tensors
        (g,) = grads
        own = (g * out).sum(dim=-1, keepdim=True)
        of_queries, of_keys, of_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
        for rows in blocks(queries, keys):
            shares = without_own(torch.addmm(-log_sums[rows], queries[rows], keys.T), rows.start).exp_()
            of_values.addmm_(shares.T, g[rows])
            of_logits = shares.mul_(torch.addmm(-own[rows], g[rows], values.T))
            of_queries[rows] = of_logits @ keys
            of_keys.addmm_(of_logits.T, queries[rows])
        return of_queries, of_keys, of_values


def blocks(queries: Tensor, keys: Tensor) -> Iterator[slice]:
    """The rows of the matrix, block by block."""
    size = max(FEWEST, LOGITS[queries.device.type] // len(keys))
    for first in range(0, len(queries), size):
        yield slice(first, first + size)


def without_own(logits: Tensor, first: int) -> Tensor:
    """The logits, changed in place: minus infinity for query i = first + row with key i."""
    if first < logits.shape[1]:
        logits.diagonal(offset=first).fill_(-torch.inf)
    return logits
