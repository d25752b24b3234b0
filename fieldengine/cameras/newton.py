"""Undoing a lens: the place that is bent to a given one, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 20
CLOSE = 1e-6  # on the image plane; with focal lengths of thousands of pixels a few thousandths of a pixel

Bend = Callable[[Tensor, Tensor], Tensor]


def inverse(bend: Bend, wanted: Tensor, parameters: Tensor) -> Tensor:
    """x (m, k) with bend(x, parameters) = wanted, k 1 or 2; NaN where there is none on the near side of a fold.

    Starts at the wanted place and goes on until all rows are there, at most 20 steps, in float64. A row that ends where
    the bend has turned the plane over is lost, too: no light comes that way. Carries gradient to `wanted` and the
    parameters, by the implicit function theorem.
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
        x = torch.where(there[:, None], x, torch.nan)
    if not (torch.is_grad_enabled() and (wanted.requires_grad or parameters.requires_grad)):
        return x.to(wanted.dtype)
    # one more step of Newton has the value of x and its true slope
    x, slope = x.to(wanted.dtype), slope.to(wanted.dtype)
    return x - _solved(slope, bend(x, parameters) - wanted)


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
