"""The renderer that integrates nothing: the field's values at points, as they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor, nn

from fieldengine.protocols import SignalField
from fieldengine.types import Aabb, Points, Rendered


@dataclass(frozen=True)
class Direct:
    """The field's values at points, as they are."""

    def build(self, *, aabb: Aabb) -> nn.Module:
        return DirectRenderer()


class DirectRenderer(nn.Module):
    def check(self, field: nn.Module, items: type) -> None:
        if items is not Points:
            raise ValueError(f"the direct renderer takes points; this data set gives {items.__name__.lower()}")
        if not isinstance(field, SignalField):
            raise ValueError(f"the direct renderer needs a field with values(x); {type(field).__name__} has none")

    def render(
        self, field: SignalField, items: Points, *, background: Tensor | None, generator: Generator | None
    ) -> Rendered:
        return Rendered(field.values(items.positions))

    def affordable(self, batch_size: int) -> int:
        return batch_size

    def update(self, field: SignalField, step: int, generator: Generator) -> None:
        return
