"""Undoing a lens: the place that is bent to a given one, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 20
CLOSE = 1e-6  # on the image plane; with focal lengths of thousands of pixels a few thousandths of a pixel
WAY = 8  # places on the way to a place, at which it must not turn back

Bend = Callable[[Tensor, Tensor], Tensor]


def inverse(bend: Bend, wanted: Tensor, parameters: Tensor) -> Tensor:
    """x (m, k) with bend(x, parameters) = wanted, k 1 or 2; NaN where there is none on the near side of a fold.

    Starts at the wanted place and goes on until all rows are there, at most 20 steps, in float64. A row that ends
    beyond a fold is lost, too: no light comes that way. Carries gradient to `wanted` and the parameters, by the
    implicit function theorem.
    """
    with torch.no_grad():
        goal, numbers = wanted.double(), parameters.double()
        x = goal.clone()
        for _ in range(STEPS):
            off = bend(x, numbers) - goal
            if not bool((off.abs() > CLOSE * 1e-4).any()):
                break
            x = x - _solved(slopes(bend, x, numbers), off)
        off, slope = bend(x, numbers) - goal, slopes(bend, x, numbers)
        there = (off.abs() <= CLOSE * (1.0 + goal.abs())).all(dim=-1) & (determinant(slope) > 0)
        x = torch.where((there & goes_outward(bend, x, numbers))[:, None], x, torch.nan)
    if not (torch.is_grad_enabled() and (wanted.requires_grad or parameters.requires_grad)):
        return x.to(wanted.dtype)
    # one more step of Newton has the value of x and its true slope
    x, slope = x.to(wanted.dtype), slope.to(wanted.dtype)
    return x - _solved(slope, bend(x, parameters) - wanted)


def goes_outward(bend: Bend, x: Tensor, parameters: Tensor) -> Tensor:
    """Whether what is bent moves outward all the way from the centre to x (m, k): (m,) bool.

    Where a fold has been crossed the bend has turned back. Its slope at x does not tell: turned over twice, in both
    directions, the plane looks as if it had never been.
    """
    shares = [(i + 1) / WAY for i in range(WAY)]
    reached = torch.stack([torch.zeros_like(x[:, 0]), *((bend(share * x, parameters) * x).sum(-1) for share in shares)])
    return (reached.diff(dim=0) >= 0).all(dim=0)


def slopes(bend: Bend, x: Tensor, parameters: Tensor) -> Tensor:
    """The Jacobian (m, k, k) of the bend at x (m, k)."""
    with torch.enable_grad():
        place = x.detach().requires_grad_()
        y = bend(place, parameters.detach())
        rows = [torch.autograd.grad(y[:, i].sum(), place, retain_graph=True)[0] for i in range(y.shape[1])]
    return torch.stack(rows, dim=1)


def determinant(slope: Tensor) -> Tensor:
    """(m, k, k) -> (m,), k 1 or 2."""
    if slope.shape[1] == 1:
        return slope[:, 0, 0]
    return slope[:, 0, 0] * slope[:, 1, 1] - slope[:, 0, 1] * slope[:, 1, 0]


def _solved(slope: Tensor, off: Tensor) -> Tensor:
    """slope^-1 off, (m, k, k) and (m, k) -> (m, k), k 1 or 2; not finite where the slope is flat."""
    if slope.shape[1] == 1:
        return off / slope[:, 0]
    a, b, c, d = slope[:, 0, 0], slope[:, 0, 1], slope[:, 1, 0], slope[:, 1, 1]
    x, y = off.unbind(-1)
    return torch.stack([d * x - b * y, a * y - c * x], dim=-1) / determinant(slope)[:, None]
