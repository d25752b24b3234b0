"""Activations: they make the layers of a network, so that nonlinearity and initialisation stay together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import carries_gradient, described, is_module, on_trial


class Activation(Protocol):
    """Options of an activation, which is used as it is."""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        """A linear map and its nonlinearity, (m, in_dim) -> (m, out_dim).

        May raise ValueError for a width it cannot use, such as an odd one where numbers are complex.
        """
        ...

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        """The last linear map, without nonlinearity; its answer is float32."""
        ...


def check_hidden(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where a hidden layer is none, or a first one maps to another width."""
    is_module(found, "hidden", "a layer")
    if not known["is_first"]:  # what it takes, real or complex, is between it and the layer before
        return
    in_dim, out_dim = known["in_dim"], known["out_dim"]
    y = on_trial(found, torch.linspace(-0.9, 0.9, 3 * in_dim).view(3, in_dim))
    # of complex numbers there are half as many, so that a width counts real numbers
    widths = (out_dim,) if not isinstance(y, Tensor) or not y.is_complex() else (out_dim, out_dim // 2)
    if not isinstance(y, Tensor) or y.ndim != 2 or len(y) != 3 or y.shape[1] not in widths:
        raise PluginError(
            f"expected hidden({in_dim}, {out_dim}, is_first=True) to map (3, {in_dim}) to (3, {out_dim}); it returned "
            f"{described(y)}"
        )
    carries_gradient(found, y)


def check_output(found: Any, known: Mapping[str, Any]) -> None:
    is_module(found, "output", "a layer")


KIND = Kind(
    group="activations",
    word="activation",
    options=Activation,
    verbs={
        "hidden": Verb(("in_dim", "out_dim", "is_first"), ("in_dim", "out_dim", "is_first"), check_hidden),
        "output": Verb(("in_dim", "out_dim"), ("in_dim", "out_dim"), check_output),
    },
    default="relu",
)
