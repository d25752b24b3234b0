"""Formulas as kernels: `fieldengine.ops.formula`.

A kernel computes in double precision and stores what it was given: literals need no type, the argument of a sine can be
thousands of turns, and vector code still takes a third of the time of a chain of torch operations. Loops run over views
that begin at zero; an index that might be negative is checked each time, and not made vector code.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numba.extending import overload, register_jitable
from torch import Tensor

from fieldengine.ops import formula as reference
from fieldengine.ops.cpu.jit import cached, share

SMALL = 1 << 14  # numbers for which compiling and sharing out is not worth it
SINE = (  # r + r^3 ..., least squares in relative error on [-pi/2, pi/2]; 3e-11
    0.9999999999823295, -0.16666666616369352, 0.00833333096467763, -0.00019840860337522886, 2.7525236904746286e-06,
    -2.388874620340431e-08,
)  # fmt: skip
PI_LOW = 1.2246467991473532e-16  # pi less its own double
HALVINGS = 11
FACTORIALS = tuple(1.0 / math.factorial(k) for k in range(9))


def pointwise(u: Tensor, value: reference.Formula, slope: reference.Formula, *constants: float) -> Tensor:
    if u.dtype != torch.float32 or u.numel() < SMALL:
        return reference.pointwise.reference(u, value, slope, *constants)
    return Pointwise.apply(u, value, slope, constants)


class Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(u: Tensor, value: reference.Formula, slope: reference.Formula, constants: tuple[float, ...]) -> Tensor:
        return run(_kernel(value), u, constants)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        u, _, ctx.slope, ctx.constants = inputs
        ctx.save_for_backward(u)
        ctx.save_for_forward(u)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (u,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return grads[0] * ctx.slope(u, *ctx.constants), None, None, None
        return run(_kernel_times(ctx.slope), u, ctx.constants, grads[0]), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (u,) = ctx.saved_tensors
        return run(_kernel_times(ctx.slope), u, ctx.constants, tangents[0])


def run(kernel: Any, u: Tensor, constants: tuple[float, ...], *others: Tensor) -> Tensor:
    out = torch.empty_like(u, memory_format=torch.contiguous_format)
    arrays = [tensor.detach().contiguous().view(-1).numpy() for tensor in (u, *others)]
    share(kernel, u.numel(), *arrays, out.view(-1).numpy(), *map(float, constants), least=4096)
    return out


@functools.cache
def _kernel(formula: reference.Formula) -> Any:
    f, version = register_jitable(formula), _version(formula)

    def kernel(first, last, u, out, *constants):
        _ = version
        u, out = u[first:last], out[first:last]
        for i in range(len(u)):
            out[i] = f(np.float64(u[i]), *constants)

    return cached(numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(kernel))


@functools.cache
def _kernel_times(formula: reference.Formula) -> Any:
    f, version = register_jitable(formula), _version(formula)

    def kernel_times(first, last, u, g, out, *constants):
        _ = version
        u, g, out = u[first:last], g[first:last], out[first:last]
        for i in range(len(u)):
            out[i] = g[i] * f(np.float64(u[i]), *constants)

    return cached(numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(kernel_times))


def _version(formula: reference.Formula) -> str:
    """Part of the key of the machine code on disk: a formula whose file was edited is compiled anew."""
    source = inspect.getsourcefile(formula)
    return hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else repr(formula.__code__.co_code)


@overload(reference.sin, jit_options={"fastmath": {"contract"}})
def _sin(x):
    s0, s1, s2, s3, s4, s5 = SINE
    pi, low, per_pi = math.pi, PI_LOW, 1.0 / math.pi

    def sine(x):
        n = np.floor(x * per_pi + 0.5)
        r = (x - n * pi) - n * low
        q = r * r
        half = n * 0.5
        sign = 1.0 - 4.0 * (half - np.floor(half))
        return sign * r * (s0 + q * (s1 + q * (s2 + q * (s3 + q * (s4 + q * s5)))))

    return sine


@overload(reference.cos, jit_options={"fastmath": {"contract"}})
def _cos(x):
    quarter, sin = 0.5 * math.pi, reference.sin
    return lambda x: sin(x + quarter)


@overload(reference.exp, jit_options={"fastmath": {"contract"}})
def _exp(x):
    part = 0.5**HALVINGS
    e0, e1, e2, e3, e4, e5, e6, e7, e8 = FACTORIALS

    def exponential(x):
        r = min(max(x, -745.0), 710.0) * part
        y = e0 + r * (e1 + r * (e2 + r * (e3 + r * (e4 + r * (e5 + r * (e6 + r * (e7 + r * e8)))))))
        for _ in range(HALVINGS):
            y *= y
        return y

    return exponential
