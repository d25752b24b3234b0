"""How SIREN draws its weights, which most periodic layers do."""

from __future__ import annotations

import math
from typing import Any

from torch import nn


def sine_weights(layer: Any, omega: float, *, is_first: bool = False) -> Any:
    """U(-1/d, 1/d) in the first layer, U(+-sqrt(6 / n) / omega) in later ones, of d or n inputs.

    Sitzmann et al. 2020, section 3.2. Draws `layer.weight`, (..., out, in), in place; the bias stays as it is.
    """
    inputs = layer.weight.shape[-1]
    bound = 1.0 / inputs if is_first else math.sqrt(6.0 / inputs) / omega
    nn.init.uniform_(layer.weight, -bound, bound)
    return layer
