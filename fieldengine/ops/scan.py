"""Sums over packed samples: the samples of one ray are neighbours, and `ray_indices` never descends."""

from __future__ import annotations

import torch
from torch import Tensor


def exclusive_sum(values: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor:
    """For each sample the sum of the samples before it on its own ray: (m,) -> (m,). Carries gradient.

    One running sum over all samples in float64, less what it was where the ray began: in float32 the sums of the rays
    before would drown the first samples of this one.
    """
    running = values.double().cumsum(0)
    before = running - values.double()
    counts = torch.bincount(ray_indices, minlength=n_rays)
    first = (counts.cumsum(0) - counts).clamp(max=max(len(values) - 1, 0))
    start = before[first][ray_indices] if len(values) else before
    return (before - start).to(values.dtype)


def sum_by_ray(values: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor:
    """(m, ...) -> (n_rays, ...): the sum of each ray's samples, zero where it has none. Carries gradient."""
    out = torch.zeros((n_rays, *values.shape[1:]), dtype=values.dtype, device=values.device)
    return out.index_add(0, ray_indices, values)
