"""The operator of data that are the values themselves."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fieldengine.kinds.operator import Operator
from fieldengine.types import Items


@dataclass(frozen=True)
class Identity:
    """A measurement is a value."""

    def build(self) -> Operator:
        return IdentityOperator()


class IdentityOperator:
    n_places: int | None = 1

    def places(self, items: Items) -> Items:
        return items

    def measure(self, values: Tensor, items: Items) -> Tensor:
        return values
