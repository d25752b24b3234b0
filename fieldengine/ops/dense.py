"""Dense layers: a linear map and a pointwise function as one operation, the inner loop of every coordinate network.

Complex layers are real ones of twice the width. A row of c complex numbers is kept as its c real parts before its c
imaginary ones, and W = A + jC acts on it as the real matrix [[A, -C], [C, A]]: the same products as in complex
arithmetic, by the library that is fastest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldengine.ops.formula import ComplexFunction, RealFunction, pointwise, takes_surrogate
from fieldengine.ops.operation import operation

NARROW = 64  # layers with fewer inputs or outputs gain nothing from rounding, and coordinates and colours would suffer
Products = Literal["none", "gradients", "all"]
_in_bfloat16: ContextVar[Products] = ContextVar("products in bfloat16", default="none")


@contextmanager
def bfloat16_products(which: Products) -> Iterator[None]:
    """Inside the block `dense` may round the factors of these matrix products to bfloat16, on a CPU with such units.

    `gradients` leaves values exact: only what back-propagation multiplies is rounded. Sums, values and gradients stay
    float32. Layers of fewer than 64 inputs or outputs stay exact: there it gains nothing, and coordinates would suffer.
    """
    before = _in_bfloat16.set(which)
    try:
        yield
    finally:
        _in_bfloat16.reset(before)


def products_in_bfloat16() -> Products:
    return _in_bfloat16.get()


@operation
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
        self.function, self.in_training, self.constants = function, function.in_training, constants

    def forward(self, input: Tensor) -> Tensor:
        function = self.in_training if takes_surrogate(self) else self.function
        return dense(input, self.weight, self.bias, function, *self.constants)


class ComplexDense(nn.Module):
    """function(W z + b) of complex numbers, (m, in_dim) -> (m, out_dim), real parts before imaginary ones.

    Attributes:
        weight, bias: (2, out_dim / 2, in_dim / 2) and (2, out_dim / 2), real and imaginary part, as torch draws those
            of a complex layer until told otherwise. Of a layer of real inputs they have no imaginary part:
            (1, out_dim / 2, in_dim) and (1, out_dim / 2).

    Raises ValueError where a number has no other for its imaginary part.
    """

    def __init__(
        self, in_dim: int, out_dim: int, function: ComplexFunction, *constants: float, real_input: bool = False
    ):
        super().__init__()
        n_out, n_in = halved(out_dim), in_dim if real_input else halved(in_dim)
        drawn = nn.Linear(n_in, n_out, dtype=None if real_input else complex_type())
        self.weight = nn.Parameter(parts_of(drawn.weight.detach()))
        self.bias = nn.Parameter(parts_of(drawn.bias.detach()))
        self.function, self.in_training, self.constants = function, function.in_training, constants

    def forward(self, x: Tensor) -> Tensor:
        return dense(x, *self.real_map(), self.in_training if takes_surrogate(self) else self.function, *self.constants)

    def gradients_by_row(self, x: Tensor, g: Tensor) -> list[tuple[Tensor, Tensor]]:
        """See `fieldengine.api.GradientsByRow`: of y = W z the gradient of row i is d_i z_i^H, a bias a weight of 1."""
        u = functional.linear(x, *self.real_map()).detach().requires_grad_()
        (d,) = torch.autograd.grad(pointwise(u, self.in_training, *self.constants), u, g)
        if len(self.weight) == 1:
            z, d = x, d[:, : self.bias.shape[1]]
        else:
            z, d = as_complex(x), as_complex(d)
        return [(torch.cat([z, z.new_ones(len(z), 1)], dim=1), d)]

    def real_map(self) -> tuple[Tensor, Tensor]:
        """The real matrix (out_dim, in_dim) and bias (out_dim,) that W and b are for parts side by side."""
        if len(self.weight) == 1:
            weight = torch.cat([self.weight[0], torch.zeros_like(self.weight[0])])
            bias = torch.cat([self.bias[0], torch.zeros_like(self.bias[0])])
        else:
            real, imaginary = self.weight
            weight = torch.cat([torch.cat([real, -imaginary], dim=1), torch.cat([imaginary, real], dim=1)])
            bias = self.bias.flatten()
        return weight, bias


def as_complex(x: Tensor) -> Tensor:
    """(m, 2c), real parts before imaginary ones -> (m, c)."""
    return torch.complex(*x.chunk(2, dim=-1))


def complex_type() -> torch.dtype:
    """That of complex numbers whose parts are torch's usual real ones."""
    return torch.promote_types(torch.get_default_dtype(), torch.complex32)


def parts_of(numbers: Tensor) -> Tensor:
    """Real or complex numbers (...) -> their parts, (1, ...) or (2, ...)."""
    if not numbers.is_complex():
        return numbers[None]
    return torch.view_as_real(numbers).movedim(-1, 0).contiguous()


def halved(width: int) -> int:
    """How many complex numbers a row of `width` holds. Raises ValueError where it is odd."""
    if width % 2:
        raise ValueError(f"width {width} cannot be halved into real and imaginary parts; take an even one")
    return width // 2


class RealPart(nn.Module):
    """The real part of W z + b of complex numbers, (m, in_dim) -> (m, out_dim); weight (2, out_dim, in_dim / 2)."""

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        drawn = nn.Linear(halved(in_dim), out_dim, dtype=complex_type())
        self.weight = nn.Parameter(parts_of(drawn.weight.detach()))
        self.bias = nn.Parameter(drawn.bias.detach().real.clone())

    def forward(self, x: Tensor) -> Tensor:
        real, imaginary = self.weight
        return functional.linear(x, torch.cat([real, -imaginary], dim=1), self.bias)

    def gradients_by_row(self, x: Tensor, g: Tensor) -> list[tuple[Tensor, Tensor]]:
        """See `fieldengine.api.GradientsByRow`; signs and order of parameters do not matter."""
        return [(torch.cat([x, x.new_ones(len(x), 1)], dim=1), g)]
