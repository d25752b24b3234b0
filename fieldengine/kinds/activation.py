"""Activations: they make the layers of a network, so that nonlinearity and initialisation stay together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
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
    """Raise PluginError where a hidden layer is not a module, or maps to another width."""
    is_module(found, "hidden", "a layer")
    in_dim, out_dim, is_first = known["in_dim"], known["out_dim"], known["is_first"]
    y = answered(found, in_dim, complex_too=not is_first)
    # of complex numbers there are half as many, so that a width counts real numbers
    widths = {torch.float32: (out_dim,), torch.complex64: (out_dim, out_dim // 2)}
    if not isinstance(y, Tensor) or y.ndim != 2 or len(y) != 3 or y.shape[1] not in widths.get(y.dtype, ()):
        raise PluginError(
            f"expected hidden({in_dim}, {out_dim}, is_first={is_first}) to map (3, {in_dim}) to float32 of shape "
            f"(3, {out_dim}); it returned {described(y)}"
        )
    carries_gradient(found, y)


def check_output(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where the last layer is not a module, or does not map to float32 of its width."""
    is_module(found, "output", "a layer")
    in_dim, out_dim = known["in_dim"], known["out_dim"]
    y = answered(found, in_dim, complex_too=True)
    if not isinstance(y, Tensor) or y.shape != (3, out_dim) or y.dtype != torch.float32:
        raise PluginError(
            f"expected output({in_dim}, {out_dim}) to map (3, {in_dim}) to float32 of shape (3, {out_dim}); it "
            f"returned {described(y)}"
        )


def answered(layer: nn.Module, in_dim: int, *, complex_too: bool) -> Any:
    """What a layer answers to three rows; after the first layer they may be half as many complex numbers."""
    rows = torch.linspace(-0.9, 0.9, 3 * in_dim).view(3, in_dim)
    try:
        return on_trial(layer, lambda: layer(rows))
    except Exception:  # a stranger's code may raise anything
        if not complex_too or in_dim % 2:
            raise
        with suppress(Exception):
            return on_trial(layer, lambda: layer(rows[:, ::2].to(torch.complex64)))
        raise  # for the reason that it has not to take real ones


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
