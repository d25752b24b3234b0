"""How weights are drawn: as torch does, or as in SIREN, like most periodic layers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def drawn(layer: Any, init: str, omega: float, *, is_first: bool = False) -> Any:
    """The layer, with its weight (..., out, in) redrawn for `init: sine`, unchanged for `torch`.

    Real and imaginary parts of complex numbers are drawn alternately, as torch does.
    """
    if init == "sine":
        bound = sine_bound(layer.weight.shape[-1], omega, is_first=is_first)
        weight = layer.weight.detach()
        in_turn = weight.movedim(0, -1) if weight.ndim > 2 else weight
        in_turn.copy_(nn.init.uniform_(torch.empty(in_turn.shape).to(weight), -bound, bound))
    return layer


def sine_bound(inputs: int, omega: float, *, is_first: bool = False) -> float:
    """1 / d for the d inputs of the first layer, sqrt(6 / n) / omega for the n inputs of later ones.

    Sitzmann et al. 2020, section 3.2.
    """
    return 1.0 / inputs if is_first else math.sqrt(6.0 / inputs) / omega
