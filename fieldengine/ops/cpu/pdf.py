"""Drawing from a piecewise-constant density on the CPU: `fieldengine.ops.pdf`, by walking both sides at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fieldengine.ops.cpu.jit import jit, share


def sample_pdf(borders: Tensor, weights: Tensor, n_samples: int, jitter: Tensor | None = None) -> Tensor:
    out = torch.empty(len(borders), n_samples, dtype=borders.dtype)
    part = np.full((1, 1), 0.5, out.numpy().dtype) if jitter is None else jitter.detach().contiguous().numpy()
    inputs = borders.detach().contiguous().numpy(), weights.detach().contiguous().numpy(), part, jitter is not None
    share(_sample, len(borders), *inputs, out.numpy(), least=64)
    return out


@jit
def _sample(first, last, borders, weights, jitter, jittered, out):
    real = borders.dtype.type
    k, n = weights.shape[1], out.shape[1]
    for i in range(first, last):
        total, end = real(0), -1
        for j in range(k):
            total += weights[i, j]
            if weights[i, j] > 0:
                end = j
        even = not total > 0
        if even:
            end = k - 1
        j, before = 0, real(0)
        share = real(1) / real(k) if even else weights[i, 0] / total
        for number in range(n):
            wanted = (real(number) + (jitter[i, number] if jittered else real(0.5))) / real(n)
            while j < end and not before + share > wanted:
                before += share
                j += 1
                share = real(1) / real(k) if even else weights[i, j] / total
            part = min(max((wanted - before) / share, real(0)), real(1))
            out[i, number] = borders[i, j] + part * (borders[i, j + 1] - borders[i, j])
