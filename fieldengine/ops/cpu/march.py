"""Marching through an occupancy grid on the CPU: `fieldengine.ops.march`, once to look and once to write.

Every step of a ray is looked at, for that is cheap: a short loop, which the compiler makes vector code, turns steps
into cell numbers, and a second keeps the occupied ones without a branch that could be guessed wrong.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fieldengine.ops.cpu.jit import jit, run_parts
from fieldengine.types import Aabb, Rays, Samples

RUN = 128  # steps of a ray whose cells are found at once
PART = 512  # rays; they are of very unequal length, so threads take small parts as they become free


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
    n, dtype, resolution = len(rays), t_near.dtype, occupied.shape[0]
    start = t_near if jitter is None else t_near + (jitter - 1.0) * step
    inputs = [rays.origins, rays.viewdirs, start, t_near, t_far, aabb.lower, resolution / aabb.size]
    arrays = [tensor.detach().contiguous().numpy() for tensor in inputs]
    cells = occupied.contiguous().view(torch.uint8).numpy().reshape(-1)
    parts = [(first, min(first + PART, n)) for first in range(0, n, PART)]
    counts = torch.zeros(n, dtype=torch.int64)
    steps = run_parts(_find, parts, *arrays, resolution, cells, float(step), counts.numpy())
    begins = counts.cumsum(0) - counts
    total = int(counts.sum())
    t0, t1 = torch.empty(total, dtype=dtype), torch.empty(total, dtype=dtype)
    index = torch.empty(total, dtype=torch.int64)
    found = np.concatenate(steps) if steps else np.empty(0, np.int32)
    outputs = t0.numpy(), t1.numpy(), index.numpy()
    run_parts(_write, parts, *arrays[2:5], float(step), found, begins.numpy(), counts.numpy(), *outputs)
    return Samples(t0, t1, index, n)


@jit
def _find(first, last, origins, viewdirs, start, t_near, t_far, lower, scale, resolution, cells, step, counts):
    """The numbers of the steps in occupied cells, ray after ray, and how many each ray has."""
    real = origins.dtype.type
    length, half = real(step), real(0.5)
    most = 0
    for i in range(first, last):
        if t_far[i] > t_near[i]:
            most += int(np.ceil((t_far[i] - start[i]) / length))
    steps, found = np.empty(most + 1, np.int32), 0  # one more, for the last that is written may not be kept
    places = np.empty(RUN, np.uint32)
    for i in range(first, last):
        begin, near, far, before = start[i], t_near[i], t_far[i], found
        n_steps = int(np.ceil((far - begin) / length)) if far > near else 0
        empty = not begin + length > near  # the first step, where the shift left nothing of it
        for run in range(1 if empty else 0, n_steps, RUN):
            count = min(RUN, n_steps - run)
            for axis in range(3):
                origin, direction, low, per_cell = origins[i, axis], viewdirs[i, axis], lower[axis], scale[axis]
                for j in range(count):
                    k = np.int32(run + j)
                    a = begin + real(k) * length
                    b = begin + real(np.int32(k + 1)) * length
                    middle = half * ((a if a > near else near) + (b if b < far else far))
                    cell = np.int32((origin + middle * direction - low) * per_cell)
                    cell = min(max(cell, np.int32(0)), np.int32(resolution - 1))
                    places[j] = np.uint32(cell) if axis == 0 else places[j] * np.uint32(resolution) + np.uint32(cell)
            for j in range(count):
                steps[found] = run + j
                found += cells[places[j]]
        # rounding may begin the last step where the ray ends
        while found > before and not begin + real(steps[found - 1]) * length < far:
            found -= 1
        counts[i] = found - before
    return steps[:found]


@jit
def _write(first, last, start, t_near, t_far, step, steps, begins, counts, t0, t1, index):
    real = start.dtype.type
    length = real(step)
    for i in range(first, last):
        for place in range(begins[i], begins[i] + counts[i]):
            k = steps[place]
            t0[place] = max(start[i] + real(k) * length, t_near[i])
            t1[place] = min(start[i] + real(k + 1) * length, t_far[i])
            index[place] = i
