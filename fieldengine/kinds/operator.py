"""Operators: what a measurement is of a field's values. The identity measures them one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import has_methods
from fieldengine.types import Domain, Items


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
    """Raise PluginError where what was built is no operator. What it measures is looked at once there are items."""
    has_methods(found, "an operator", "places", "measure")
    count = getattr(found, "n_places", 0)
    if count is not None and (not isinstance(count, int) or count < 1):
        raise PluginError(f"expected {type(found).__name__}.n_places, at least 1 or None; found {count!r}")


KIND = Kind(
    group="operators",
    word="operator",
    options=OperatorOptions,
    verbs={"build": Verb(("domain",), (), check_operator)},
    default="identity",
)
