"""Activations as formulas: a value and its slope, written once, run as one pass over memory.

A formula is a plain function of a number u and constants, made of + - * /, `abs` and those below. Called with a tensor
it is ordinary torch. On the CPU it is also compiled, so that a chain such as sin(30 (|u| + 1) u) reads and writes each
number once, not once per operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fieldengine.ops.twins import has_twin

Formula = Callable[..., Any]


def sin(x: Any) -> Any:
    """Sine of a tensor, and of a number in a compiled formula, there to 1e-10 for |x| up to 1e6."""
    return torch.sin(x)


def cos(x: Any) -> Any:
    """Cosine; as `sin`."""
    return torch.cos(x)


def exp(x: Any) -> Any:
    """Exponential; as `sin`, to a relative 1e-10."""
    return torch.exp(x)


@has_twin
def pointwise(u: Tensor, value: Formula, slope: Formula, *constants: float) -> Tensor:
    """value(u, *constants) for each number of u. Carries gradient: slope(u, *constants) times what comes in.

    Args:
        u: any shape.
        value, slope: formulas, defined at the top of a module. The slope is value's derivative, or what
            back-propagation is to take for it.
    """
    return _Pointwise.apply(u, value, slope, constants)


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, value: Formula, slope: Formula, constants: tuple[float, ...]) -> Tensor:
        ctx.save_for_backward(u)
        ctx.save_for_forward(u)
        ctx.slope, ctx.constants = slope, constants
        return value(u, *constants)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (u,) = ctx.saved_tensors
        return grads[0] * ctx.slope(u, *ctx.constants), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (u,) = ctx.saved_tensors
        return tangents[0] * ctx.slope(u, *ctx.constants)
