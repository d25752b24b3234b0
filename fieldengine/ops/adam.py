"""Adam for tables of which a step touches a part (as in tiny-cuda-nn)."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ops.operation import operation


@operation
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
    """One step of Adam (Kingma and Ba 2015), in place, on the numbers whose gradient is not zero.

    The others are left alone: neither they nor their moments move, and they do not count the step.

    Args:
        parameter: any shape; `mean`, `square` (moments) and `steps` (how often touched, a real number) are like it.
        gradient: like it, or sparse in the first dimension, where rows that occur more than once add up.
        sums: like the parameter and all zero, before and after: room for adding up a sparse gradient, which callers
            keep from step to step so that no step has to make it.
    """
    with torch.no_grad():
        rows = None
        if gradient.is_sparse:
            gradient = gradient.coalesce()
            rows, gradient = gradient.indices()[0], gradient.values()
        own = [t if rows is None else t[rows] for t in (parameter, mean, square, steps)]
        p, m, v, n = own
        touched = gradient != 0
        g = gradient + weight_decay * p
        n = n + touched
        m, v = m.lerp(g, 1.0 - betas[0]), v.lerp(g * g, 1.0 - betas[1])
        corrected = m / (1.0 - betas[0] ** n), (v / (1.0 - betas[1] ** n)).sqrt()
        p = p - lr * corrected[0] / (corrected[1] + eps)
        for whole, before, after in zip((parameter, mean, square, steps), own, (p, m, v, n), strict=True):
            new = torch.where(touched, after, before)
            whole.copy_(new) if rows is None else whole.index_copy_(0, rows, new)
