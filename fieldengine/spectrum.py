"""Which frequencies an image holds, as one number for each ring of the Fourier plane."""

from __future__ import annotations

import torch
from torch import Tensor


def ring_numbers(height: int, width: int) -> Tensor:
    """The ring of every coefficient of `torch.fft.fft2`, (height, width) int64.

    Frequencies count in cycles over the shorter side, rounded: ring 0 is the mean; what lies beyond the shorter side's
    Nyquist limit, in the corners and on the longer side, is in one ring more.
    """
    n = min(height, width)
    rows, columns = (n * torch.fft.fftfreq(size, dtype=torch.float64) for size in (height, width))
    return torch.hypot(rows[:, None], columns).round().long().clamp(max=n // 2 + 1)


def radial_spectrum(values: Tensor, most: int) -> Tensor:
    """How an image's magnitude is shared among its first frequencies, (h, w, c) -> (n,), sums to one.

    Sums of Fourier magnitudes over rings and channels, from one cycle over the shorter side to `most` or its Nyquist
    limit, without the mean. All zero for an image of one colour.
    """
    height, width, _ = values.shape
    rings = ring_numbers(height, width)[:, : width // 2 + 1].flatten()
    magnitude = torch.fft.rfft2(values.double(), dim=(0, 1)).abs().sum(dim=-1).flatten().cpu()
    sums = torch.zeros(int(rings.max()) + 1, dtype=torch.float64).index_add_(0, rings, magnitude)
    inner = sums[1 : min(height // 2, width // 2, most) + 1]
    # what rounding leaves of an image of one colour is nothing
    return inner / inner.sum() if inner.sum() > 1e-9 * sums[0] and inner.sum() > 0 else torch.zeros_like(inner)


def wasserstein(one: Tensor, other: Tensor) -> float:
    """How far shares (n,) must be moved to become others, in places: the 1-D Wasserstein distance."""
    return float((one.cumsum(0) - other.cumsum(0)).abs().sum())
