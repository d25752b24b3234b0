"""Where rays meet a box."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ops.operation import operation
from fieldengine.types import Aabb, Rays


@operation
def intersect_aabb(rays: Rays, aabb: Aabb, near: float = 0.0) -> tuple[Tensor, Tensor]:
    """The part of each ray inside the box (slab method).

    Returns:
        `t_near` and `t_far` (n,), t_near >= near. Where a ray misses, t_near = t_far = near. No gradient.
    """
    with torch.no_grad():
        # a direction component of zero gives infinities of the right sign; NaN only where the origin lies on the slab
        inverse = 1.0 / rays.viewdirs
        a, b = (aabb.lower - rays.origins) * inverse, (aabb.upper - rays.origins) * inverse
        inf = float("inf")
        enter = torch.minimum(a, b).nan_to_num(nan=-inf, posinf=inf, neginf=-inf).amax(dim=-1).clamp(min=near)
        leave = torch.maximum(a, b).nan_to_num(nan=inf, posinf=inf, neginf=-inf).amin(dim=-1)
        hit = leave > enter
        floor = torch.full_like(enter, near)
        return torch.where(hit, enter, floor), torch.where(hit, leave, floor)
