"""The hash grid on the CPU: `fieldengine.ops.hash_grid`, with first and second derivatives by kernels.

A thread owns points where it reads the table, levels where it adds to its gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldengine.ops import hash_grid as reference
from fieldengine.ops.cpu import hash_grid_kernels as kernels
from fieldengine.ops.cpu.gradients import by_reference
from fieldengine.ops.cpu.jit import run_parts, share

SPARSE = 4  # a sparse gradient pays where the table has this many times more rows than it has entries
Levels = tuple[reference.GridLevel, ...]


def hash_encode(
    x: Tensor, table: Tensor, levels: Sequence[reference.GridLevel], *, smooth: bool = False, sparse: bool = False
) -> Tensor:
    return Encode.apply(x, table, tuple(levels), smooth, sparse)


def table_gradients(
    x: Tensor, table: Tensor, g: Tensor, levels: Sequence[reference.GridLevel], *, smooth: bool = False
) -> Tensor:
    listed = scatter_sparse(g, x, table, tuple(levels), smooth)
    points = torch.arange(len(x))[:, None].expand(len(levels), len(x), 1 << x.shape[1])
    places = torch.stack([points.reshape(-1), listed._indices()[0]])
    return torch.sparse_coo_tensor(places, listed._values(), (len(x), *table.shape), check_invariants=False)


class Encode(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, table: Tensor, levels: Levels, smooth: bool, sparse: bool) -> Tensor:
        return gather(x, table, levels, smooth)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, table, ctx.levels, ctx.smooth, ctx.sparse = inputs
        ctx.save_for_backward(x, table)
        ctx.save_for_forward(x, table)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, table = ctx.saved_tensors
        for_x, for_table = ctx.needs_input_grad[:2]
        few = SPARSE * len(ctx.levels) * len(x) << x.shape[1] <= len(table)
        sparse = ctx.sparse and few and for_table and not torch.is_grad_enabled()
        gx, gt = EncodeBackward.apply(grads[0], x, table, ctx.levels, ctx.smooth, for_x, for_table and not sparse)
        return gx, scatter_sparse(grads[0], x, table, ctx.levels, ctx.smooth) if sparse else gt, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        x, table = ctx.saved_tensors
        x_dot, table_dot = tangents[:2]
        out = torch.zeros(len(x), len(ctx.levels) * table.shape[1], dtype=table.dtype)
        if x_dot is not None:
            out += gather(x, table, ctx.levels, ctx.smooth, along=x_dot)
        return out if table_dot is None else out + gather(x, table_dot, ctx.levels, ctx.smooth)


class EncodeBackward(torch.autograd.Function):
    """(g, x, table) -> gradient in x, gradient in the table; itself differentiable once more by kernels.

    Beyond that, the reference is differentiated.
    """

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, table: Tensor, levels: Levels, smooth: bool, for_x: bool, for_table: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(g, x, table)
        ctx.levels, ctx.smooth, ctx.needed = levels, smooth, (for_x, for_table)
        ctx.set_materialize_grads(False)
        gx = pull_back(g, x, table, levels, smooth) if for_x else None
        gt = scatter(g, x, table, levels, smooth) if for_table else None
        return gx, gt

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        g, x, table = ctx.saved_tensors
        nothing = (None, None, None, None)
        if torch.is_grad_enabled():
            return by_reference(_first_by_reference, (g, x, table, ctx.levels, ctx.smooth, *ctx.needed), grads)
        vx, vt = grads
        levels, smooth = ctx.levels, ctx.smooth
        for_g, for_x, for_table = ctx.needs_input_grad[:3]
        gg, gx, gt = None, None, None
        if vx is not None:
            gg = gather(x, table, levels, smooth, along=vx) if for_g else None
            gx = pull_back(g, x, table, levels, smooth, along=vx) if for_x else None
            gt = scatter(g, x, table, levels, smooth, along=vx) if for_table else None
        if vt is not None:
            gg = _sum(gg, gather(x, vt, levels, smooth)) if for_g else None
            gx = _sum(gx, pull_back(g, x, vt, levels, smooth)) if for_x else None
        return gg, gx, gt, *nothing


def _first_by_reference(
    g: Tensor, x: Tensor, table: Tensor, levels: Levels, smooth: bool, *needed: bool
) -> tuple[Tensor | None, ...]:
    """What EncodeBackward returns, with a graph."""
    y = reference.hash_encode.reference(x, table, levels, smooth=smooth)
    wanted = [tensor for tensor, need in zip((x, table), needed, strict=True) if need]
    found = iter(torch.autograd.grad(y, wanted, g, create_graph=True))
    return tuple(next(found) if need else None for need in needed)


def _sum(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b


def gather(x: Tensor, table: Tensor, levels: Levels, smooth: bool, along: Tensor | None = None) -> Tensor:
    """Features (m, L F), or with `along` (m, d) their derivative in that direction."""
    out = torch.empty(len(x), len(levels) * table.shape[1], dtype=table.dtype)
    share(kernels.gather, len(x), *_points(x, along), *_grid(table, levels, smooth), out.numpy(), least=kernels.BLOCK)
    return out


def pull_back(g: Tensor, x: Tensor, table: Tensor, levels: Levels, smooth: bool, along: Tensor | None = None) -> Tensor:
    """The gradient (m, d) in x of <g, features>, or of <g, derivative of the features along `along`>."""
    out = torch.zeros(x.shape[1], len(x), dtype=x.dtype)
    grid = _grid(table, levels, smooth)
    share(kernels.pull_back, len(x), *_points(x, along), *grid, _numpy(g), out.numpy(), least=kernels.BLOCK)
    return out.t()


def scatter(g: Tensor, x: Tensor, table: Tensor, levels: Levels, smooth: bool, along: Tensor | None = None) -> Tensor:
    """The gradient in the table of <g, features>, or of <g, derivative of the features along `along`>."""
    out = torch.zeros_like(table, memory_format=torch.contiguous_format)
    parts = [(level, level + 1) for level in range(len(levels))]
    run_parts(kernels.scatter, parts, *_points(x, along), *_grid(out, levels, smooth), _numpy(g))
    return out


def scatter_sparse(g: Tensor, x: Tensor, table: Tensor, levels: Levels, smooth: bool) -> Tensor:
    """`scatter` as a sparse tensor, with an entry for every vertex of every point; rows may occur more than once."""
    entries, features = len(levels) * len(x) << x.shape[1], table.shape[1]
    rows, values = torch.empty(entries, dtype=torch.int64), torch.empty(entries, features, dtype=table.dtype)
    parts = [(level, level + 1) for level in range(len(levels))]
    grid = _grid(table, levels, smooth)
    run_parts(kernels.list_entries, parts, *_points(x, None), *grid, _numpy(g), rows.numpy(), values.numpy())
    return torch.sparse_coo_tensor(rows[None], values, table.shape, check_invariants=False)


def _points(x: Tensor, along: Tensor | None) -> tuple[Any, ...]:
    """Positions and direction axis by axis (d, m), and a tuple whose length the compiler knows."""
    positions = _numpy(x.t())
    return positions, (0,) * x.shape[1], positions if along is None else _numpy(along.t()), along is not None


def _grid(table: Tensor, levels: Levels, smooth: bool) -> tuple[Any, ...]:
    features = (0,) * table.shape[1]  # as the axes
    return _numpy(table), features, *_levels(levels, table.dtype), smooth


@functools.lru_cache(maxsize=64)
def _levels(levels: Levels, dtype: torch.dtype) -> tuple[Any, ...]:
    scales = np.array([level.scale for level in levels], dtype=np.float64 if dtype == torch.float64 else np.float32)
    whole = [[level.resolution, level.offset, level.size, level.dense] for level in levels]
    return scales, np.array(whole, dtype=np.int64)


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()
