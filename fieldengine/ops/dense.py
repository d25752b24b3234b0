"""Dense layers: a linear map and a pointwise function as one operation, the inner loop of every coordinate network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn
from torch.nn import functional

from fieldengine.ops.formula import ComplexFunction, RealFunction, pointwise
from fieldengine.ops.twins import has_twin

_in_bfloat16: ContextVar[bool] = ContextVar("products in bfloat16", default=False)


@contextmanager
def bfloat16_products(allowed: bool) -> Iterator[None]:
    """Inside the block `dense` may round the factors of its matrix products to bfloat16, on a CPU that has such units.

    Sums, values and gradients stay float32. Layers of fewer than 64 inputs or outputs stay exact: there it gains
    nothing, and coordinates would suffer.
    """
    before = _in_bfloat16.set(allowed)
    try:
        yield
    finally:
        _in_bfloat16.reset(before)


def may_use_bfloat16() -> bool:
    return _in_bfloat16.get()


@has_twin
def dense(
    x: Tensor, weight: Tensor, bias: Tensor, function: RealFunction | ComplexFunction, *constants: float
) -> Tensor:
    """function(x Wᵀ + b). Carries gradient to x, weight and bias.

    Args:
        x: (m, in).
        weight, bias: (out, in) and (out,).
        function, constants: as of `fieldengine.ops.pointwise`.
    """
    return pointwise(functional.linear(x, weight, bias), function, *constants)


class Dense(nn.Linear):
    """`dense` as a module, (m, in_dim) -> (m, out_dim), weights drawn as torch does until told otherwise."""

    def __init__(self, in_dim: int, out_dim: int, function: RealFunction, *constants: float):
        super().__init__(in_dim, out_dim)
        self.function, self.constants = function, constants

    def forward(self, x: Tensor) -> Tensor:
        return dense(x, self.weight, self.bias, self.function, *self.constants)
