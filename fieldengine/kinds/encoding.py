"""Encodings: what coordinates become before a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Module, Verb
from fieldengine.kinds.probe import carries_gradient, described, is_count, is_module, on_trial


class EncodingOptions(Protocol):
    """Options of an encoding; refuses dimensions that it does not take by ValueError."""

    def build(self, in_dim: int) -> Encoding: ...


class Encoding(Module, Protocol):
    """The working encoding, an nn.Module: (m, in_dim) in [-1, 1] -> (m, out_dim), float32. Carries gradient.

    May tell its `highest_frequency` in radians over a unit of [-1, 1]: data with wider pixels are then warned of; and
    its `level_columns`, how many outputs each of its levels has, coarse to fine, so that levels can be faded in.
    """

    out_dim: int

    def __call__(self, x: Tensor) -> Tensor: ...


def check_encoding(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where an encoding that was built for `in_dim` is not one."""
    is_module(found, "build", "a module with out_dim")
    width = getattr(found, "out_dim", None)
    if not is_count(width):
        there = "has none" if width is None else f"has {width!r}"
        raise PluginError(f"expected {type(found).__name__}.out_dim, a whole number of columns; it {there}")
    in_dim = known["in_dim"]
    x = torch.linspace(-0.9, 0.9, 3 * in_dim).view(3, in_dim)
    y = on_trial(found, lambda: found(x))
    if not isinstance(y, Tensor) or y.shape != (3, width) or y.dtype != torch.float32:
        raise PluginError(
            f"expected float32 of shape (3, {width}) for 3 positions, as out_dim says; {type(found).__name__} returned "
            f"{described(y)}"
        )
    carries_gradient(found, y)
    check_frequencies(found, width)


def check_frequencies(found: Any, width: int) -> None:
    """Raise PluginError where what an encoding tells of its frequencies and levels cannot be used."""
    highest = getattr(found, "highest_frequency", 0.0)
    if not isinstance(highest, int | float):
        raise PluginError(f"expected {type(found).__name__}.highest_frequency, a number; found {described(highest)}")
    columns = getattr(found, "level_columns", ())
    if not isinstance(columns, Sequence) or not all(map(is_count, columns)) or sum(columns) > width:
        raise PluginError(
            f"expected {type(found).__name__}.level_columns, whole numbers that add up to {width} at most; "
            f"found {columns!r}"
        )


KIND = Kind(
    group="encodings",
    word="encoding",
    options=EncodingOptions,
    verbs={"build": Verb(offers=("in_dim",), needs=("in_dim",), check=check_encoding)},
    default="hash_grid",
)
