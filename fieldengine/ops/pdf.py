"""Drawing positions where a piecewise-constant density is large (Mildenhall et al. 2020, Section 5.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ops.operation import operation


@operation
def sample_pdf(borders: Tensor, weights: Tensor, n_samples: int, jitter: Tensor | None = None) -> Tensor:
    """Positions (n, n_samples), ascending, spread over each ray as its weights are. No gradient.

    Args:
        borders: (n, k + 1), ascending, of k intervals.
        weights: (n, k) >= 0, the share of each interval; where they are all zero, any interval is as likely.
        n_samples: how many; number i lies where a share (i + jitter) / n_samples of the weight is passed.
        jitter: (n, n_samples) in [0, 1), or None for 1/2, the middles.
    """
    with torch.no_grad():
        widths = borders[:, 1:] - borders[:, :-1]
        total = weights.sum(dim=-1, keepdim=True)
        shares = torch.where(total > 0, weights / total.clamp(min=torch.finfo(weights.dtype).tiny), 1 / widths.shape[1])
        passed = shares.cumsum(dim=-1)
        number = torch.arange(n_samples, dtype=borders.dtype, device=borders.device)
        wanted = ((number + (0.5 if jitter is None else jitter)) / n_samples).expand(len(borders), n_samples)
        # rounding may leave the last sum below one: whatever is beyond it lies in the last interval with any weight
        last = (shares > 0).long().mul(torch.arange(1, shares.shape[1] + 1, device=borders.device)).amax(-1) - 1
        interval = torch.searchsorted(passed, wanted.contiguous(), right=True).minimum(last[:, None])
        before = passed.gather(1, interval) - shares.gather(1, interval)
        part = ((wanted - before) / shares.gather(1, interval)).clamp(0.0, 1.0)
        return borders.gather(1, interval) + part * widths.gather(1, interval)
