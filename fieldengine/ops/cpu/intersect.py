"""Where rays meet a box, on the CPU: `fieldengine.ops.intersect`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fieldengine.ops.cpu.jit import jit, share
from fieldengine.types import Aabb, Rays


def intersect_aabb(rays: Rays, aabb: Aabb, near: float = 0.0) -> tuple[Tensor, Tensor]:
    origins, viewdirs = rays.origins.detach().contiguous(), rays.viewdirs.detach().contiguous()
    t_near, t_far = torch.empty(len(rays), dtype=origins.dtype), torch.empty(len(rays), dtype=origins.dtype)
    box = aabb.lower.contiguous().numpy(), aabb.upper.contiguous().numpy()
    outputs = t_near.numpy(), t_far.numpy()
    share(_intersect, len(rays), origins.numpy(), viewdirs.numpy(), *box, float(near), *outputs, least=1024)
    return t_near, t_far


@jit
def _intersect(first, last, origins, viewdirs, lower, upper, near, t_near, t_far):
    one, floor = origins.dtype.type(1), origins.dtype.type(near)
    for i in range(first, last):
        enter, leave = floor, origins.dtype.type(np.inf)
        for a in range(origins.shape[1]):
            inverse = one / viewdirs[i, a]
            s, t = (lower[a] - origins[i, a]) * inverse, (upper[a] - origins[i, a]) * inverse
            if s == s and t == t:  # not a number: the ray runs inside this slab's face, which bounds nothing
                enter, leave = max(enter, min(s, t)), min(leave, max(s, t))
        hit = leave > enter
        t_near[i] = enter if hit else floor
        t_far[i] = leave if hit else floor
