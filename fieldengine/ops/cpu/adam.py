"""Adam for tables on the CPU: `fieldengine.ops.adam`.

A dense gradient is read once, each thread a run of numbers. Of a sparse one the entries are added up in a table that is
zero between calls, each thread a run of rows; the same entries then lead to the rows to be moved, so that a large table
of which little is touched is never passed over.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldengine.ops.cpu.jit import jit, run_parts, share


def adam_where_touched(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    steps: Tensor,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float = 0.0,
    sums: Tensor | None = None,
) -> None:
    tables = [tensor.detach().numpy() for tensor in (parameter, mean, square, steps)]
    real = tables[0].dtype.type
    corrections = _corrections(betas, tables[0].dtype.name)
    settings = *corrections, real(lr), real(1 - betas[0]), real(1 - betas[1]), real(eps), real(weight_decay)
    if not gradient.is_sparse:
        flat = [table.reshape(-1) for table in (*tables, gradient.contiguous().numpy())]
        share(_adam, len(flat[0]), *flat, *settings, least=4096)
        return
    rows, values = gradient._indices()[0].contiguous().numpy(), gradient._values().contiguous()
    added = (torch.zeros_like(parameter) if sums is None else sums).detach().numpy()
    by_row = [table.reshape(len(parameter), -1) for table in (*tables, added)]
    borders = np.linspace(0, len(parameter), torch.get_num_threads() + 1).astype(int).tolist()
    run_parts(
        _adam_of_rows,
        list(itertools.pairwise(borders)),
        *by_row,
        rows,
        values.view(len(rows), by_row[0].shape[1]).numpy(),
        *settings,
    )


@functools.lru_cache(maxsize=16)
def _corrections(betas: tuple[float, float], dtype: str) -> tuple[Any, Any]:
    """1 / (1 - beta^n) for n = 0, 1, ... to where beta^n is lost in rounding; entry 0 is never read."""

    def of(beta: float) -> Any:
        most = math.ceil(math.log(1e-17) / math.log(beta)) + 1 if beta > 0 else 2
        return np.array([0.0, *(1.0 / (1.0 - beta**n) for n in range(1, most + 1))], dtype=dtype)

    return of(betas[0]), of(betas[1])


@jit
def _move(i, g, parameter, mean, square, steps, correct1, correct2, lr, new1, new2, eps, weight_decay):
    """One step of Adam for number i of flat tables."""
    g += weight_decay * parameter[i]
    steps[i] += parameter.dtype.type(1)
    n = int(steps[i])
    mean[i] += (g - mean[i]) * new1
    square[i] += (g * g - square[i]) * new2
    m, v = mean[i] * correct1[min(n, len(correct1) - 1)], square[i] * correct2[min(n, len(correct2) - 1)]
    parameter[i] -= lr * m / (np.sqrt(v) + eps)


@jit
def _adam(first, last, parameter, mean, square, steps, gradient, *settings):
    for i in range(first, last):
        if gradient[i] != 0:
            _move(i, gradient[i], parameter, mean, square, steps, *settings)


@jit
def _adam_of_rows(first, last, parameter, mean, square, steps, sums, rows, values, *settings):
    zero = parameter.dtype.type(0)
    for entry in range(len(rows)):
        row = rows[entry]
        if first <= row < last:
            for f in range(values.shape[1]):
                sums[row, f] += values[entry, f]
    for entry in range(len(rows)):
        row = rows[entry]
        if first <= row < last:
            for f in range(values.shape[1]):
                g = sums[row, f]
                if g != zero:
                    sums[row, f] = zero
                    _move(f, g, parameter[row], mean[row], square[row], steps[row], *settings)
