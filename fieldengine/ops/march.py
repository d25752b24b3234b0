"""Marching through an occupancy grid: equal steps along each ray, of which those in empty cells are left out."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ops.operation import operation
from fieldengine.types import Aabb, Rays, Samples


@operation
def march(
    rays: Rays,
    t_near: Tensor,
    t_far: Tensor,
    *,
    step: float,
    aabb: Aabb,
    occupied: Tensor,
    jitter: Tensor | None = None,
    most: int = 1 << 22,
) -> Samples:
    """Intervals of length `step` whose middle lies in an occupied cell. No gradient.

    Args:
        t_near, t_far: (n,) the part of each ray to look at, of `intersect_aabb`.
        step: length of an interval; the last one of a ray ends at t_far.
        occupied: (R, R, R) bool over `aabb`, x first.
        jitter: (n,) in [0, 1): shift of a ray's intervals in steps; None for none.
        most: candidate intervals looked at in one go, which bounds memory.
    """
    with torch.no_grad():
        start = t_near if jitter is None else t_near + (jitter - 1.0) * step
        span = t_far - start
        counts = torch.where(t_far > t_near, torch.ceil(span / step), torch.zeros_like(span)).long()
        longest = int(counts.max()) if len(rays) else 0
        if longest == 0:
            empty = torch.zeros(0, device=t_near.device)
            return Samples(empty, empty, empty.long(), len(rays))
        steps = torch.arange(longest, device=t_near.device)
        found = [
            _march_some(
                slice(first, first + most // longest + 1),
                rays,
                start,
                t_near,
                t_far,
                counts,
                steps,
                step,
                aabb,
                occupied,
            )
            for first in range(0, len(rays), most // longest + 1)
        ]
        t0, t1, index = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Samples(t0, t1, index, len(rays))


def _march_some(
    part: slice,
    rays: Rays,
    start: Tensor,
    t_near: Tensor,
    t_far: Tensor,
    counts: Tensor,
    steps: Tensor,
    step: float,
    aabb: Aabb,
    occupied: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    index, k = torch.nonzero(steps < counts[part, None], as_tuple=True)
    index, k = index + part.start, k.to(start.dtype)
    t0 = torch.maximum(start[index] + k * step, t_near[index])
    t1 = torch.minimum(start[index] + (k + 1) * step, t_far[index])
    x = rays.origins[index] + (0.5 * (t0 + t1))[:, None] * rays.viewdirs[index]
    resolution = occupied.shape[0]
    cell = ((x - aabb.lower) * (resolution / aabb.size)).long().clamp_(0, resolution - 1)
    flat = (cell[:, 0] * resolution + cell[:, 1]) * resolution + cell[:, 2]
    keep = occupied.view(-1)[flat] & (t1 > t0)
    return t0[keep], t1[keep], index[keep]
