"""Dense layers with products in bfloat16: `fieldengine.ops.dense`, all of it while a few hundred rows are in the cache.

torch would round what it returns to bfloat16, too, which no phase survives. The inner loop here keeps a block of
12 x 32 sums in registers; numbers come in words of 4 bytes, two neighbours of the summed dimension in each, and one
instruction multiplies 16 words and adds to float32 sums. One factor goes in as words of its rows, the other as panels
of 32 columns. Products in float32 are left to torch, whose libraries are as fast as they can be.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.extending import intrinsic
from torch import Tensor

from fieldengine.ops.cpu.formula import Function, as_float32, cotangents, values
from fieldengine.ops.cpu.gradients import by_reference
from fieldengine.ops.cpu.jit import jit, run_parts, share
from fieldengine.ops.dense import NARROW, products_in_bfloat16
from fieldengine.ops.dense import dense as by_torch
from fieldengine.ops.formula import push_forward

LANES, VECTORS, ROWS = 16, 2, 12
COLUMNS = LANES * VECTORS
BLOCK = 4 * ROWS  # rows packed at once
CHUNK = 5 * BLOCK  # rows that go through products and formula while they are in the cache
GROUPS = 16  # sums over rows are taken of so many parts, so that they do not depend on the number of threads
SMALL = 1 << 18  # products for which sharing out is not worth it


def dense(x: Tensor, weight: Tensor, bias: Tensor, function: Function, *constants: float) -> Tensor:
    which = products_in_bfloat16()
    pays = len(x) * weight.numel() >= SMALL and min(weight.shape) >= NARROW
    if which == "none" or not pays or x.dtype != torch.float32 or not _has_bfloat16():
        return NotImplemented
    return Dense.apply(x, weight, bias, function, constants, which == "all")


@functools.cache
def _has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16, and numba was not told to compile for another one."""
    settings: Any = config
    told = settings.CPU_NAME or settings.CPU_FEATURES
    return bool(binding.get_host_cpu_features().get("avx512bf16")) and not told


class Dense(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, function: Function, constants: tuple[float, ...], whole: bool
    ) -> Tensor:
        u = x.new_empty(len(x), len(weight)) if whole else torch.addmm(bias, x, weight.t())
        h = torch.empty_like(u)
        rows_of_x, shift, before, after = array(x), array(bias), u.numpy(), h.numpy()
        panels = _panels(array(weight.t())) if whole else None
        kernel, numbers = values(function), as_float32(constants)

        def part(first: int, last: int) -> None:
            for rows in chunks(first, last):
                if panels is not None:
                    _affine(rows_of_x[rows], panels, shift, before[rows])
                kernel(before[rows], after[rows], numbers)

        share(part, len(x), least=BLOCK)
        ctx.save_for_backward(x, weight, bias, u)
        ctx.save_for_forward(x, weight, bias)
        ctx.function, ctx.constants = function, constants
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, u = ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs = (x, weight, bias, ctx.function, *ctx.constants)
            return *by_reference(by_torch.reference, inputs, grads)[:3], None, None, None
        (m, k), n, needs_x = x.shape, len(weight), ctx.needs_input_grad[0]
        to_x = x.new_empty(m if needs_x else 0, k)
        rows_of_x, rows_of_u, above, below = array(x), array(u), array(grads[0]), to_x.numpy()
        panels, kernel, numbers = _panels(array(weight)), cotangents(ctx.function), as_float32(ctx.constants)

        def part(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
            to_weight, to_bias = np.zeros((n, k), np.float32), np.zeros(n, np.float32)
            g = np.empty((CHUNK, n), np.float32)
            left = np.zeros((CHUNK // 2, -(-n // ROWS) * ROWS), np.uint32)
            right = np.zeros((-(-k // COLUMNS), CHUNK // 2, COLUMNS), np.uint32)
            for rows in chunks(first, last):
                some = g[: rows.stop - rows.start]
                kernel(rows_of_u[rows], above[rows], some, numbers)
                if needs_x:
                    _affine(some, panels, np.zeros(k, np.float32), below[rows])
                _pack_pairs(some, rows_of_x[rows], left, right, to_bias)
                _add_outer(left, right, -(-len(some) // 2), to_weight)
            return to_weight, to_bias

        size = -(-m // (GROUPS * CHUNK)) * CHUNK
        sums = run_parts(part, [(first, min(first + size, m)) for first in range(0, m, size)])
        to_weight, to_bias = (sum(parts[1:], start=parts[0]) for parts in zip(*sums, strict=True))
        return to_x if needs_x else None, torch.from_numpy(to_weight), torch.from_numpy(to_bias), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        x, weight, bias = ctx.saved_tensors[:3]
        u = torch.nn.functional.linear(x, weight, bias)
        change = torch.zeros_like(u)
        if tangents[0] is not None:
            change = change + tangents[0] @ weight.t()
        if tangents[1] is not None:
            change = change + x @ tangents[1].t()
        if tangents[2] is not None:
            change = change + tangents[2]
        return push_forward(u, change, ctx.function, ctx.constants)


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def chunks(first: int, last: int) -> Iterator[slice]:
    for start in range(first, last, CHUNK):
        yield slice(start, min(start + CHUNK, last))


# --------------------------------------------------------------------------------------------------------- kernels


class _BFloat(ir.types.Type):
    """bfloat16, which llvmlite does not name."""

    intrinsic_name = "bf16"

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


@intrinsic
def _dot(_context, a, a_row, a_step, b, steps, out):
    """out[r, c] = sum over t of a[r, t] b[t, c], 12 rows and 32 columns of float32.

    Addresses and strides in bytes: a's words lie at a + r a_row + t a_step, b's at b + 128 t + 4 c.
    """

    def generate(context, builder, _signature, args):
        a, a_row, a_step, b, steps, out = args
        i32, i64 = ir.IntType(32), ir.IntType(64)
        floats, words = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(i32, LANES)
        factor = ir.VectorType(_BFloat(), 2 * LANES)
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        kind = ir.FunctionType(floats, [floats, factor, factor])
        instruction = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        undefined, cells = ir.Constant(words, ir.Undefined), [(r, v) for r in range(ROWS) for v in range(VECTORS)]

        def at(address, step, kind):
            return builder.inttoptr(builder.add(address, ir.Constant(i64, step)), kind.as_pointer())

        before, loop, after = (
            builder.basic_block,
            builder.append_basic_block("loop"),
            builder.append_basic_block("after"),
        )
        builder.branch(loop)
        builder.position_at_end(loop)
        t = builder.phi(i64)
        t.add_incoming(ir.Constant(i64, 0), before)
        sums = {cell: builder.phi(floats) for cell in cells}
        at_b = builder.add(b, builder.mul(t, ir.Constant(i64, 4 * COLUMNS)))
        columns = [
            builder.bitcast(builder.load(at(at_b, 4 * LANES * v, words), align=4), factor) for v in range(VECTORS)
        ]
        at_a, following = builder.add(a, builder.mul(t, a_step)), {}
        for r in range(ROWS):
            word = builder.load(at(builder.add(at_a, builder.mul(a_row, ir.Constant(i64, r))), 0, i32), align=4)
            spread = builder.insert_element(undefined, word, ir.Constant(i32, 0))
            spread = builder.shuffle_vector(spread, undefined, ir.Constant(words, [0] * LANES))
            row = builder.bitcast(spread, factor)
            for v in range(VECTORS):
                following[r, v] = builder.call(instruction, [sums[r, v], row, columns[v]])
        following_t = builder.add(t, ir.Constant(i64, 1))
        t.add_incoming(following_t, loop)
        for cell in cells:
            sums[cell].add_incoming(ir.Constant(floats, [0.0] * LANES), before)
            sums[cell].add_incoming(following[cell], loop)
        builder.cbranch(builder.icmp_signed("<", following_t, steps), loop, after)
        builder.position_at_end(after)
        for r, v in cells:
            builder.store(following[r, v], at(out, 4 * (r * COLUMNS + v * LANES), floats), align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


@jit
def _nearest(bits):
    """The bfloat16 nearest to a float32, both as unsigned integers; even at a tie."""
    return (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)


@jit
def _words(row, out):
    """A row of float32 as words."""
    bits, halves = row.view(np.uint32), out.view(np.uint16)
    for i in range(len(bits)):
        halves[i] = _nearest(bits[i])


@jit
def _words_of_two(row, below, out):
    """Words of neighbours in a column: a row of float32 and the one below it."""
    a, b = row.view(np.uint32), below.view(np.uint32)
    for i in range(len(a)):
        out[i] = _nearest(a[i]) | (_nearest(b[i]) << np.uint32(16))


@jit
def _panels(matrix):
    """A matrix (inner, columns) as panels (columns / 32, words of inner, 32), filled up with zeros."""
    inner, columns = matrix.shape
    panels = np.zeros((-(-columns // COLUMNS), -(-inner // 2), COLUMNS), np.uint32)
    nothing = np.zeros(columns, np.float32)
    for t in range(panels.shape[1]):
        row, below = matrix[2 * t], matrix[2 * t + 1] if 2 * t + 1 < inner else nothing
        for p in range(panels.shape[0]):
            some = slice(p * COLUMNS, min((p + 1) * COLUMNS, columns))
            _words_of_two(row[some], below[some], panels[p, t])
    return panels


@jit
def _affine(x, panels, bias, out):
    """out = x B + bias: x (m, k), B as panels, out (m, n)."""
    m, n = out.shape
    steps = panels.shape[1]
    a, sums = np.zeros((BLOCK, steps), np.uint32), np.empty((ROWS, COLUMNS), np.float32)
    for first in range(0, m, BLOCK):
        rows = min(BLOCK, m - first)
        for i in range(rows):
            _words(x[first + i], a[i])
        for p in range(panels.shape[0]):
            c, columns = p * COLUMNS, min(COLUMNS, n - p * COLUMNS)
            shift = bias[c : c + columns]
            for i in range(0, rows, ROWS):
                address = a.ctypes.data + 4 * steps * i
                _dot(address, 4 * steps, 4, panels[p].ctypes.data, steps, sums.ctypes.data)  # pyright: ignore[reportCallIssue]
                for r in range(min(ROWS, rows - i)):
                    y, s = out[first + i + r, c : c + columns], sums[r, :columns]
                    for j in range(columns):
                        y[j] = s[j] + shift[j]


@jit
def _pack_pairs(g, x, left, right, total):
    """Rows of g and x as factors of the sum over rows: words of g as rows of `left`, of x in panels of `right`.

    Adds the rows of g to `total` on the way.
    """
    m, k = x.shape
    nothing = np.zeros(max(k, g.shape[1]), np.float32)
    for t in range(-(-m // 2)):
        two = 2 * t + 1 < m
        g0, g1 = g[2 * t], g[2 * t + 1] if two else nothing[: g.shape[1]]
        x0, x1 = x[2 * t], x[2 * t + 1] if two else nothing[:k]
        for j in range(len(g0)):
            total[j] += g0[j] + g1[j]
        _words_of_two(g0, g1, left[t])
        for p in range(right.shape[0]):
            some = slice(p * COLUMNS, min((p + 1) * COLUMNS, k))
            _words_of_two(x0[some], x1[some], right[p, t])


@jit
def _add_outer(left, right, steps, out):
    """out (n, k) += gᵀ x, g and x as `_pack_pairs` packed them, `steps` words."""
    n, k = out.shape
    sums = np.empty((ROWS, COLUMNS), np.float32)
    for p in range(right.shape[0]):
        c, columns = p * COLUMNS, min(COLUMNS, k - p * COLUMNS)
        for i in range(0, n, ROWS):
            _dot(left[0, i:].ctypes.data, 4, 4 * left.shape[1], right[p].ctypes.data, steps, sums.ctypes.data)  # pyright: ignore[reportCallIssue]
            for r in range(min(ROWS, n - i)):
                y, s = out[i + r, c : c + columns], sums[r, :columns]
                for j in range(columns):
                    y[j] += s[j]
