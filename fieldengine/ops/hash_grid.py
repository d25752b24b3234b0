"""Multiresolution hash encoding (Müller et al. 2022, Instant Neural Graphics Primitives), for 1 to 4 dimensions.

Level l has a scale s_l = N_min b^l - 1 and R_l = ceil(s_l) + 1 vertices an axis. A position x in [0, 1]^d lies at p =
x s_l + 0.5; the half cell keeps the cells of different levels from lining up. Coarse levels that fit store every
vertex; finer ones share entries by a hash. The feature of a point is the multilinear mean of its cell's 2^d vertices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldengine.ops.operation import operation

PRIMES = (1, 2654435761, 805459861, 3674653429)
MAX_DIM = len(PRIMES)


@dataclass(frozen=True)
class GridLevel:
    """One resolution: its scale, vertices per axis, and the rows [offset, offset + size) of the table it owns."""

    scale: float
    resolution: int
    offset: int
    size: int
    dense: bool


def grid_levels(dim: int, n_levels: int, coarsest: int, finest: int, log2_table: int) -> tuple[GridLevel, ...]:
    """The levels of a grid; row counts as in tiny-cuda-nn: a dense level's is rounded up to a multiple of 8.

    Args:
        dim: 1 to 4.
        coarsest, finest: cells per axis of the first and the last level.
        log2_table: log2 of the most rows one level may own.
    """
    growth = math.exp(math.log(finest / coarsest) / (n_levels - 1)) if n_levels > 1 else 1.0
    levels, offset = [], 0
    for i in range(n_levels):
        scale = coarsest * growth**i - 1.0
        resolution = math.ceil(scale - 1e-9) + 1  # rounding in growth**i must not add a vertex to an exact power
        wanted = -(-(resolution**dim) // 8) * 8
        dense = resolution**dim <= 2**log2_table
        size = min(wanted, 2**log2_table)
        levels.append(GridLevel(scale, resolution, offset, size, dense))
        offset += size
    return tuple(levels)


@operation
def hash_encode(
    x: Tensor, table: Tensor, levels: Sequence[GridLevel], *, smooth: bool = False, sparse: bool = False
) -> Tensor:
    """Features of positions on every level, side by side.

    Carries gradient to the table and to x, and any number of derivatives of both; second derivatives in x vanish
    inside a cell unless `smooth`.

    Args:
        x: (m, d) in [0, 1], d from 1 to 4; positions outside are moved to the nearest face. A position that is not a
            number gets features that are not numbers.
        table: (rows, F), all levels one after the other.
        smooth: weigh by 3w^2 - 2w^3 instead of w, which makes the first derivative continuous.
        sparse: the table's gradient may be a sparse tensor, and is one where that spares passing over the whole table.

    Returns:
        (m, L F), level by level.
    """
    rows, weights = vertices(x, levels, smooth)
    gathered = table.index_select(0, rows.reshape(-1)).view(*rows.shape, table.shape[1])
    mixed = (gathered * weights[..., None]).sum(dim=1)
    return mixed.permute(1, 0, 2).reshape(len(x), len(levels) * table.shape[1])


def vertices(x: Tensor, levels: Sequence[GridLevel], smooth: bool = False) -> tuple[Tensor, Tensor]:
    """The rows of the table that a position's features are a mean of, and their weights, both (L, 2^d, m).

    The weights carry gradient to x (m, d).
    """
    dim, x = x.shape[1], x.clamp(0.0, 1.0)
    rows, weights = [], []
    for level in levels:
        p = x * level.scale + 0.5
        cell = p.detach().nan_to_num(0.0).floor()
        w = p - cell
        if smooth:
            w = w * w * (3.0 - 2.0 * w)
        # per axis: the two vertices' share of the row number, and their two weights
        low = cell.long()
        shares = torch.stack([low, low + 1]).clamp(max=level.resolution - 1) * _strides(level, dim, x.device)
        sides = torch.stack([1.0 - w, w])
        for corner in itertools.product((0, 1), repeat=dim):
            row, weight = shares[corner[0], :, 0], sides[corner[0], :, 0]
            for axis in range(1, dim):
                share = shares[corner[axis], :, axis]
                row = row + share if level.dense else row ^ share
                weight = weight * sides[corner[axis], :, axis]
            rows.append(row + level.offset if level.dense else (row & (level.size - 1)) + level.offset)
            weights.append(weight)
    shape = (len(levels), 2**dim, len(x))
    return torch.stack(rows).view(shape), torch.stack(weights).view(shape)


@operation
def table_gradients(
    x: Tensor, table: Tensor, g: Tensor, levels: Sequence[GridLevel], *, smooth: bool = False
) -> Tensor:
    """For each position by itself, the gradient in the table of <g, features>, a sparse tensor (m, rows, F).

    Args:
        x, table: as for `hash_encode`.
        g: (m, L F), the cotangents of the features.
    """
    rows, weights = vertices(x.detach(), levels, smooth)
    values = weights[..., None] * g.detach().unflatten(1, (len(levels), -1)).transpose(0, 1)[:, None]  # (L, 2^d, m, F)
    points = torch.arange(len(x), device=x.device).expand(rows.shape)
    places = torch.stack([points.reshape(-1), rows.reshape(-1)])
    return torch.sparse_coo_tensor(places, values.flatten(0, 2), (len(x), *table.shape), check_invariants=False)


def _strides(level: GridLevel, dim: int, device: torch.device) -> Tensor:
    factors = [level.resolution**axis for axis in range(dim)] if level.dense else list(PRIMES[:dim])
    return torch.tensor(factors, dtype=torch.int64, device=device)
