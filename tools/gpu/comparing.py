"""How much two results differ, and whether that is too much."""

from __future__ import annotations

import dataclasses
import math
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from gpu.rows import Row, State, finite

ORDERS: tuple[str, ...] = ("value", "gradient", "second gradient")
Outcome = dict[str, list[Tensor | None]]  # by order; None where there is no gradient


@dataclasses.dataclass(frozen=True)
class Error:
    """The largest difference, relative to the largest number that is wanted, and in words what is wrong."""

    size: float
    why: str = "numbers differ"


def errors(found: Outcome, wanted: Outcome) -> dict[str, Error]:
    """The largest error of each order."""
    off = {}
    for order in ORDERS:
        if order in found or order in wanted:
            pairs = zip_longest(found.get(order, ()), wanted.get(order, ()))
            off[order] = max((error(a, b) for a, b in pairs), key=lambda error: error.size)
    return off


def error(found: Tensor | None, wanted: Tensor | None) -> Error:
    """Infinite if shapes differ or only one has a nan somewhere. A missing gradient equals a gradient of zeros."""
    if found is None or wanted is None:
        there = found if wanted is None else wanted
        zeros = there is None or not bool(there.to_dense().any())
        return Error(0.0 if zeros else math.inf, "only one of the two has this result")
    a, b = (t.detach().to_dense().cpu().double() for t in (found, wanted))
    if a.shape != b.shape:
        return Error(math.inf, f"shape {tuple(a.shape)} instead of {tuple(b.shape)}")
    if not a.numel():
        return Error(0.0)
    off = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs()).nan_to_num(nan=math.inf)
    scale = float(b.abs().nan_to_num(posinf=0.0).max())
    return Error(float(off.max()) / (scale or 1.0))


def judged(what: str, off: dict[str, Error], allowed: dict[str, float], figures: dict[str, Any]) -> Row:
    """A row that shows the first order with too large an error, else the one that comes closest to its bound."""
    wrong = [order for order in off if off[order].size > allowed[order]]
    state: State = "differs" if wrong else "equal"
    shown = wrong[0] if wrong else max(off, key=lambda order: off[order].size / allowed[order])
    sizes = {f"error of {order}": finite(e.size) for order, e in off.items()}
    detail = "; ".join(f"{order}: {off[order].why}" for order in wrong)
    return Row(what, state, finite(off[shown].size), None, allowed[shown], {**sizes, **figures}, detail)
