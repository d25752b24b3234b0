"""Learned polynomials of the coordinates, whose inner product is a learned dot-product kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

WIDEST = 16_384


@dataclass(frozen=True)
class Peak:
    """Powers of the coordinates with learned coefficients, PEAK.

    The polynomial encoder of Learning Input Encodings for Kernel-Optimal Implicit Neural Representations (PEAK with
    KAR): c_k x^(tensor k) for k = 0 to degree. The inner product of two points' features is sum_k c_k^2 (x . x')^k, a
    positive kernel for any learned c_k, which start at 1.

    basis:
      monomials    each product of coordinates once, weighted by the root of its multiplicity in the tensor: the same
                   kernel with (k + d - 1 choose d - 1) instead of d^k numbers per degree
      tensor       all d^k products, as in the paper
      elementwise  x_i^k for k = degree to 1 with coefficients of any sign that start at N(0, 0.001^2), as in the
                   authors' code, which puts them beside a hash grid:
                   `{type: concat, parts: [{type: peak, basis: elementwise, degree: 4}, hash_grid]}`
    With `unit` the powers are of [cos x, sin x] / sqrt(d), which lies on the unit sphere, as the theory assumes; high
    degrees neither vanish nor grow there.

    Scene: `encoding: {type: peak, degree: 1}`
    """

    degree: Annotated[int, Field(ge=0, le=128)] = 1
    """the highest power"""
    basis: Literal["monomials", "tensor", "elementwise"] = "monomials"
    """which products of coordinates are kept"""
    unit: bool = False
    """use powers of a point on the unit sphere instead of the coordinates"""

    def build(self, in_dim: int) -> nn.Module:
        return PeakModule(self, in_dim)


class PeakModule(nn.Module):
    exponents: Tensor
    weights: Tensor
    degrees: Tensor

    def __init__(self, options: Peak, in_dim: int):
        super().__init__()
        d = 2 * in_dim if options.unit else in_dim
        rows = exponents_of(options, d)
        self.unit, self.degree, self.out_dim = options.unit, options.degree, len(rows)
        exponents = torch.tensor(rows, dtype=torch.int64).view(-1, d)
        degrees = exponents.sum(dim=1)
        self.register_buffer("exponents", exponents, persistent=False)
        self.register_buffer("degrees", degrees, persistent=False)
        repeated = options.basis == "monomials"
        weights = [math.sqrt(times(row)) if repeated else 1.0 for row in rows]
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        free = options.basis == "elementwise"
        self.coefficients = nn.Parameter(
            1e-3 * torch.randn(options.degree + 1) if free else torch.ones(options.degree + 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(m, d) in [-1, 1] -> (m, out_dim). Carries gradient to x and to the coefficients."""
        if self.unit:
            x = torch.cat([torch.cos(x), torch.sin(x)], dim=-1) / math.sqrt(x.shape[1])
        powers = [torch.ones_like(x)]
        for _ in range(self.degree):
            powers.append(powers[-1] * x)
        table = torch.stack(powers, dim=-1)  # (m, d, degree + 1)
        product = self.weights * self.coefficients[self.degrees]
        for axis in range(table.shape[1]):
            product = product * table[:, axis, self.exponents[:, axis]]
        return product


def exponents_of(options: Peak, d: int) -> list[tuple[int, ...]]:
    """The power of each coordinate in each output. Raises ValueError for too many outputs."""
    if options.basis == "elementwise":
        if options.degree == 0:
            raise ValueError("basis elementwise needs a degree of at least 1")
        return [
            tuple(k if i == axis else 0 for i in range(d)) for k in range(options.degree, 0, -1) for axis in range(d)
        ]
    per_degree = [d**k if options.basis == "tensor" else math.comb(k + d - 1, d - 1) for k in range(options.degree + 1)]
    if sum(per_degree) > WIDEST:
        smaller = "basis monomials, or " if options.basis == "tensor" else ""
        raise ValueError(
            f"degree {options.degree} of {d} numbers makes {sum(per_degree):,} features; the most is {WIDEST:,}. "
            f"Take {smaller}a smaller degree"
        )
    found: list[tuple[int, ...]] = []
    for k in range(options.degree + 1):
        for row in compositions(k, d):
            found += [row] * (times(row) if options.basis == "tensor" else 1)
    return found


def compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to write `total` as a sum of `parts` numbers >= 0, the first number descending."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in compositions(total - first, parts - 1):
            yield (first, *rest)


def times(exponents: tuple[int, ...]) -> int:
    """How often the tensor power contains this product: the multinomial coefficient."""
    count, total = 1, 0
    for k in exponents:
        total += k
        count *= math.comb(total, k)
    return count
