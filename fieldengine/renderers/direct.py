"""The renderer that integrates nothing: the field's values at points, as they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor, nn

from fieldengine.kinds.field import SignalField
from fieldengine.kinds.renderer import Renderer
from fieldengine.types import Points, Rendered


@dataclass(frozen=True)
class Direct:
    """The field's values at points, as they are."""

    def build(self) -> Renderer:
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

    def max_batch(self, wanted: int) -> int:
        return wanted

    def update(self, field: SignalField, step: int, generator: Generator) -> None:
        return
