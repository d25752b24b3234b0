"""How weights are drawn: as torch does, or as SIREN, which most periodic layers do."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def drawn(layer: Any, init: str, omega: float, *, is_first: bool = False) -> Any:
    """The layer, its weight (..., out, in) drawn anew for `init: sine`, left as torch drew it for `torch`.

    Of complex numbers a real part and its imaginary one are drawn in turn, as torch does.
    """
    if init == "sine":
        bound = sine_bound(layer.weight.shape[-1], omega, is_first=is_first)
        weight = layer.weight.detach()
        in_turn = weight.movedim(0, -1) if weight.ndim > 2 else weight
        in_turn.copy_(nn.init.uniform_(torch.empty(in_turn.shape).to(weight), -bound, bound))
    return layer


def sine_bound(inputs: int, omega: float, *, is_first: bool = False) -> float:
    """1 / d for the d inputs of the first layer, sqrt(6 / n) / omega for the n of later ones.

    Sitzmann et al. 2020, section 3.2.
    """
    return 1.0 / inputs if is_first else math.sqrt(6.0 / inputs) / omega
