"""Activations as formulas: a value and what back-propagation makes of it, written once, run as one pass over memory.

A formula is a plain function of numbers and constants, made of + - * /, `abs`, comparisons, those below and other
formulas. Called with tensors it is ordinary torch. On the CPU it is also compiled, so that a chain such as
sin(30 (|u| + 1) u) reads and writes each number once, not once per operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fieldengine.ops.operation import operation

Formula = Callable[..., Any]


class RealFunction(NamedTuple):
    """Formulas of one number u, defined at the top of a module.

    Attributes:
        value: (u, *constants) -> a number.
        slope: (u, *constants) -> the value's derivative.
        surrogate: the surrogate gradient, which training takes for the slope where a method is defined so.
    """

    value: Formula
    slope: Formula
    surrogate: Formula | None = None

    @property
    def in_training(self) -> RealFunction:
        """The function with the slope that training takes."""
        return RealFunction(self.value, self.surrogate or self.slope)


class ComplexFunction(NamedTuple):
    """Formulas of a complex number a + jb, given as two real ones, defined at the top of a module.

    Attributes:
        value: (a, b, *constants) -> real and imaginary part.
        pullback: (a, b, g, h, *constants) -> cotangents of a and b, from those of the two parts of the value.
        surrogate: the surrogate gradient, which training takes for the pullback where a method is defined so.
    """

    value: Formula
    pullback: Formula
    surrogate: Formula | None = None

    @property
    def in_training(self) -> ComplexFunction:
        """The function with the pullback that training takes."""
        return ComplexFunction(self.value, self.surrogate or self.pullback)


_with_surrogates: ContextVar[bool] = ContextVar("surrogate gradients", default=False)


@contextmanager
def surrogate_gradients() -> Iterator[None]:
    """Inside the block modules use their surrogate gradients in evaluation mode too."""
    before = _with_surrogates.set(True)
    try:
        yield
    finally:
        _with_surrogates.reset(before)


def takes_surrogate(module: nn.Module) -> bool:
    """Whether a module back-propagates its surrogate gradient, as in training; otherwise its derivative."""
    return module.training or _with_surrogates.get()


def sin(x: Any) -> Any:
    """Sine of a tensor, and of a number in a compiled formula, there as exact as a float32 for |x| up to 1e5."""
    return torch.sin(x)


def cos(x: Any) -> Any:
    """Cosine; as `sin`."""
    return torch.cos(x)


def exp(x: Any) -> Any:
    """Exponential; as `sin`."""
    return torch.exp(x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent; as `sin`."""
    return torch.tanh(x)


def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition, a comparison of numbers, holds, else y. Both are computed, so both must be numbers."""
    return torch.where(condition, x, y)


@operation
def pointwise(u: Tensor, function: RealFunction | ComplexFunction, *constants: float) -> Tensor:
    """The function of each number of u. Carries gradient: the slope, or pullback, of the function.

    Args:
        u: any shape; of a complex function (..., 2c), the c real parts of a row before its c imaginary ones.
    """
    return _Pointwise.apply(u, function, constants)


class _Pointwise(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, function: RealFunction | ComplexFunction, constants: tuple[float, ...]) -> Tensor:
        if isinstance(function, RealFunction):
            return function.value(u, *constants)
        return torch.cat(function.value(*u.chunk(2, dim=-1), *constants), dim=-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        u, ctx.function, ctx.constants = inputs
        ctx.save_for_backward(u)
        ctx.save_for_forward(u)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (u,) = ctx.saved_tensors
        return pull_back(u, grads[0], ctx.function, ctx.constants), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (u,) = ctx.saved_tensors
        return push_forward(u, tangents[0], ctx.function, ctx.constants)


def pull_back(u: Tensor, g: Tensor, function: RealFunction | ComplexFunction, constants: tuple[float, ...]) -> Tensor:
    """The cotangent of u from g, that of the function's values. Carries gradient to u and g."""
    if isinstance(function, RealFunction):
        return g * function.slope(u, *constants)
    (a, b), (s, t) = u.chunk(2, dim=-1), g.chunk(2, dim=-1)
    return torch.cat(function.pullback(a, b, s, t, *constants), dim=-1)


def push_forward(
    u: Tensor, tangent: Tensor, function: RealFunction | ComplexFunction, constants: tuple[float, ...]
) -> Tensor:
    """The tangent of the function's values from that of u."""
    if isinstance(function, RealFunction):
        return tangent * function.slope(u, *constants)
    (a, b), (s, t) = u.chunk(2, dim=-1), tangent.chunk(2, dim=-1)
    one, zero = torch.ones_like(a), torch.zeros_like(a)
    rows = (function.pullback(a, b, one, zero, *constants), function.pullback(a, b, zero, one, *constants))
    return torch.cat([to_a * s + to_b * t for to_a, to_b in rows], dim=-1)
