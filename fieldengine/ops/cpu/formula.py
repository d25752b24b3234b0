"""Formulas as kernels: `fieldengine.ops.formula`.

A formula's source is compiled with its literals read as float32, else one of them would make the whole of it double
precision and half as fast. Loops run over views that begin at zero; an index that might be negative is checked each
time, and not made vector code. Nor is a loop that writes what it reads.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import textwrap
from typing import Any

import numba
import numpy as np
import torch
from numba.extending import overload, register_jitable
from torch import Tensor

from fieldengine.ops import formula as reference
from fieldengine.ops.cpu.jit import cached, share

Function = reference.RealFunction | reference.ComplexFunction

INLINED: Any = {"fastmath": {"contract"}, "forceinline": True}  # a call would end vector code

SMALL = 1 << 14  # numbers for which compiling is not worth it
PART = 1 << 17  # numbers that take as long as to wake a thread
PI = tuple(map(np.float32, (3.140625, 0.0009675025939941406, 1.5099580252808664e-07)))  # a sum; few bits each
LOG_2 = tuple(map(np.float32, (0.69140625, 0.0017409306019544601)))
# least largest relative error: of sin(r) / r - 1 in r^2 on [0, pi/2], 5e-9; of exp(r) on [-ln 2 / 2, ln 2 / 2], 2e-9
SINE = tuple(map(np.float32, (-0.16666656683994, 0.00833302513871, -0.00019807418711, 2.6019030354e-06)))
EXPONENTIAL = tuple(
    map(
        np.float32, (1.0, 1.0, 0.49999992079494, 0.16666420170189, 0.04166822564218, 0.00837481578167, 0.00138368419243)
    )
)


def pointwise(u: Tensor, function: Function, *constants: float) -> Tensor:
    if u.dtype != torch.float32 or u.numel() < SMALL:
        return NotImplemented
    return Pointwise.apply(u, function, constants)


class Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(u: Tensor, function: Function, constants: tuple[float, ...]) -> Tensor:
        return run(values(function), function, u, constants)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        u, ctx.function, ctx.constants = inputs
        ctx.save_for_backward(u)
        ctx.save_for_forward(u)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (u,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return reference.pull_back(u, grads[0], ctx.function, ctx.constants), None, None
        return run(cotangents(ctx.function), ctx.function, u, ctx.constants, grads[0]), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (u,) = ctx.saved_tensors
        return reference.push_forward(u, tangents[0], ctx.function, ctx.constants)


def run(kernel: Any, function: Function, u: Tensor, constants: tuple[float, ...], *others: Tensor) -> Tensor:
    """A kernel of rows over all of u, shared among the threads. Numbers that need no partner are one long row."""
    out = torch.empty_like(u, memory_format=torch.contiguous_format)
    arrays = [tensor.detach().contiguous().view(-1).numpy() for tensor in (u, *others, out)]
    numbers = as_float32(constants)
    paired = isinstance(function, reference.ComplexFunction)
    width = u.shape[-1] if paired else 1

    def part(first: int, last: int) -> None:
        rows = (last - first, width) if paired else (1, last - first)
        kernel(*(array[first * width : last * width].reshape(rows) for array in arrays), numbers)

    share(part, u.numel() // width, least=max(1, PART // max(1, width)))
    return out


def values(function: Function) -> Any:
    """A kernel (u, out, constants) that writes the function of each row of u, both (rows, n), into out."""
    return _values(function.value, isinstance(function, reference.ComplexFunction))


@functools.cache
def _values(value: reference.Formula, paired: bool) -> Any:
    f = _in_float32(value)

    def of_numbers(u, out, constants):
        for row in range(len(u)):
            a, y = u[row], out[row]
            for i in range(len(a)):
                y[i] = f(a[i], *constants)

    def of_pairs(u, out, constants):
        half = u.shape[1] // 2
        for row in range(len(u)):
            a, b, y, z = u[row, :half], u[row, half:], out[row, :half], out[row, half:]
            for i in range(half):
                y[i], z[i] = f(a[i], b[i], *constants)

    return _compiled(of_pairs if paired else of_numbers)


def cotangents(function: Function) -> Any:
    """A kernel (u, g, out, constants): the cotangent of u from g, that of the values, row by row."""
    paired = isinstance(function, reference.ComplexFunction)
    return _cotangents(function.pullback if paired else function.slope, paired)


@functools.cache
def _cotangents(formula: reference.Formula, paired: bool) -> Any:
    f = _in_float32(formula)

    def of_numbers(u, g, out, constants):
        for row in range(len(u)):
            a, s, y = u[row], g[row], out[row]
            for i in range(len(a)):
                y[i] = s[i] * f(a[i], *constants)

    def of_pairs(u, g, out, constants):
        half = u.shape[1] // 2
        for row in range(len(u)):
            a, b, y, z = u[row, :half], u[row, half:], out[row, :half], out[row, half:]
            s, t = g[row, :half], g[row, half:]
            for i in range(half):
                y[i], z[i] = f(a[i], b[i], s[i], t[i], *constants)

    return _compiled(of_pairs if paired else of_numbers)


def _compiled(kernel: Any) -> Any:
    return cached(numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(kernel))


def as_float32(constants: tuple[float, ...]) -> tuple[np.float32, ...]:
    return tuple(map(np.float32, constants))


@functools.cache
def _in_float32(formula: reference.Formula) -> Any:
    """The same function for kernels, each number in its source a float32, exponents aside; so are those it calls."""
    tree = _Literals().visit(ast.parse(textwrap.dedent(inspect.getsource(formula))))
    called = {name: formula.__globals__.get(name) for name in formula.__code__.co_names}
    own = {
        name: _in_float32(f)
        for name, f in called.items()
        if inspect.isfunction(f) and f.__module__ != reference.__name__
    }
    scope = {**formula.__globals__, **own, "_float32": np.float32}
    path = inspect.getsourcefile(formula) or formula.__name__
    exec(compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True), scope)
    return register_jitable(forceinline=True)(scope[formula.__name__])


class _Literals(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) not in (int, float):
            return node
        return ast.Call(ast.Name("_float32", ast.Load()), [node], [])

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if isinstance(node.op, ast.Pow):
            node.left = self.visit(node.left)
            return node
        return self.generic_visit(node)


@overload(reference.sin, jit_options=INLINED)
def _sin(x):
    half, four, one = np.float32(0.5), np.float32(4.0), np.float32(1.0)
    per_pi, (p0, p1, p2), (s1, s2, s3, s4) = np.float32(1 / math.pi), PI, SINE

    def sine(x):
        n = np.floor(x * per_pi + half)
        r = ((x - n * p0) - n * p1) - n * p2
        q = r * r
        sign = one - four * (n * half - np.floor(n * half))
        return sign * (r + r * (q * (s1 + q * (s2 + q * (s3 + q * s4)))))

    return sine


@overload(reference.cos, jit_options=INLINED)
def _cos(x):
    half, four, one = np.float32(0.5), np.float32(4.0), np.float32(1.0)
    per_pi, (p0, p1, p2), (s1, s2, s3, s4) = np.float32(1 / math.pi), PI, SINE

    def cosine(x):
        n = np.floor(x * per_pi)
        m = n + half  # cos(m pi + r) = -sin(n pi + r)
        r = ((x - m * p0) - m * p1) - m * p2
        q = r * r
        sign = four * (n * half - np.floor(n * half)) - one
        return sign * (r + r * (q * (s1 + q * (s2 + q * (s3 + q * s4)))))

    return cosine


@overload(reference.exp, jit_options=INLINED)
def _exp(x):
    half, low, high = np.float32(0.5), np.float32(-104.0), np.float32(89.0)
    per_log_2, (l0, l1), (e0, e1, e2, e3, e4, e5, e6) = np.float32(1 / math.log(2)), LOG_2, EXPONENTIAL

    def exponential(x):
        x = min(max(x, low), high)
        n = np.floor(x * per_log_2 + half)
        r = (x - n * l0) - n * l1
        y = e0 + r * (e1 + r * (e2 + r * (e3 + r * (e4 + r * (e5 + r * e6)))))
        some = np.floor(n * half)  # 2^n in two factors: one alone may be no normal float32
        return (y * _power_of_2(some)) * _power_of_2(n - some)

    return exponential


@overload(reference.tanh, jit_options=INLINED)
def _tanh(x):
    one, two, exp = np.float32(1.0), np.float32(2.0), reference.exp
    return lambda x: one - two / (exp(two * x) + one)


@overload(reference.where, jit_options=INLINED)
def _where(condition, x, y):
    return lambda condition, x, y: x if condition else y


@register_jitable(forceinline=True)
def _power_of_2(n):
    return np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
