"""Finding a layer's weights: it may be a linear map, or contain one or two besides its nonlinearity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn


def weighted(layer: nn.Module) -> Iterator[Any]:
    """The modules of a layer that have a matrix (..., out, in) named `weight`."""
    for module in layer.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim >= 2:
            yield module
