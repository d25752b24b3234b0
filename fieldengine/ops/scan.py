"""Sums and maxima over packed samples: those of one ray are neighbours, and `ray_indices` never descends."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ops.operation import operation


@operation
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


@operation
def sum_by_ray(values: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor:
    """(m, ...) -> (n_rays, ...): the sum of each ray's samples, zero where it has none. Carries gradient."""
    out = torch.zeros((n_rays, *values.shape[1:]), dtype=values.dtype, device=values.device)
    return out.index_add(0, ray_indices, values)


@operation
def argmax_by_ray(values: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor:
    """The number (n_rays,) int64 of each ray's sample with the largest value, the first of equals.

    -1 where a ray has none. No gradient.
    """
    values = values.detach()
    largest = torch.full((n_rays,), -torch.inf, dtype=values.dtype, device=values.device)
    largest = largest.scatter_reduce(0, ray_indices, values, "amax")
    none = len(values)
    numbers = torch.arange(none, device=values.device)
    candidates = torch.where(values == largest[ray_indices], numbers, none)
    first = torch.full((n_rays,), none, device=values.device).scatter_reduce(0, ray_indices, candidates, "amin")
    return torch.where(first == none, -1, first)
