"""Operators: what a measurement is of a field's values. The identity measures them one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import described, has_methods, is_count
from fieldengine.types import Domain, Items, Points, Rays


class OperatorOptions(Protocol):
    """Options of an operator. `build` may name domain."""

    def build(self, *, domain: Domain) -> Operator: ...


class Operator(Protocol):
    """The working operator: which values measurement i is made of, and how (Essakine et al. 2025, Eq. 3).

    The data's items stand for measurements, and targets are what was measured; the loss and what hooks see compare
    measurements. The number of channels of a measurement and of a value may differ.

    Attributes:
        n_places: places that each measurement needs; None where each needs all of a step's, so that a step is not cut
            into tiles.
    """

    n_places: int | None

    def places(self, items: Items) -> Items:
        """n measurements -> the n times k items that the renderer is asked for, k of each measurement in a row.

        Where `n_places` is None, any number of them. Carries gradient.
        """
        ...

    def measure(self, values: Tensor, items: Items) -> Tensor:
        """Values (places, c) in the order of `places` -> measurements (n, m). Carries gradient."""
        ...


def check_operator(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where what was built is not an operator. What it measures is checked once there are items."""
    has_methods(found, "an operator", places=("items",), measure=("values", "items"))
    count = getattr(found, "n_places", "none")
    if count is not None and not is_count(count):
        raise PluginError(f"expected {type(found).__name__}.n_places, at least 1 or None; found {count!r}")


def check_places(places: Any, n: int, n_places: int | None) -> None:
    """Raise PluginError where n measurements do not have as many places each as `n_places` says."""
    if not isinstance(places, Points | Rays):
        raise PluginError(f"expected places(items) to return Points or Rays, found {described(places)}")
    if n_places is not None and len(places) != n * n_places:
        raise PluginError(f"expected {n_places} places for each of {n} items, as n_places says; found {len(places)}")


def check_measured(values: Any, n: int) -> None:
    """Raise PluginError where n items do not have a measurement each."""
    if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != n or not values.is_floating_point():
        raise PluginError(f"expected measure(values, items) to return measurements ({n}, c), found {described(values)}")


KIND = Kind(
    group="operators",
    word="operator",
    options=OperatorOptions,
    verbs={"build": Verb(("domain",), (), check_operator)},
    default="identity",
)
