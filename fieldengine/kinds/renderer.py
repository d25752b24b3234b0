"""Renderers: they turn a field and items into values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Generator, Tensor, nn

from fieldengine.kinds.kind import Kind, Module, Verb
from fieldengine.kinds.probe import has_methods, is_module
from fieldengine.types import Aabb, Items, Rendered


class RendererOptions(Protocol):
    """Options of a renderer. `build` may name aabb."""

    def build(self, *, aabb: Aabb) -> Renderer: ...


class Renderer(Module, Protocol):
    """The working renderer, an nn.Module; its buffers are checkpointed, its parameters are trained."""

    def check(self, field: nn.Module, items: type[Items]) -> None:
        """Raise ValueError, before any work, where this field or these items cannot be rendered."""
        ...

    def render(self, field: Any, items: Any, *, background: Tensor | None, generator: Generator | None) -> Rendered:
        """Values of n items.

        With a generator the samples are jittered (training), without they are fixed (evaluation). While gradients are
        enabled it may return losses of its own, (n,) each (`Rendered.losses`).
        """
        ...

    def max_batch(self, wanted: int) -> int:
        """How many of `wanted` items one training step can afford."""
        ...

    def update(self, field: Any, step: int, generator: Generator) -> None:
        """Refresh what the renderer remembers of the field; called once before each training step."""
        ...


def check_renderer(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where what was built is no renderer. What it renders is looked at once there are items."""
    is_module(found, "build", "a renderer")
    has_methods(found, "a renderer", "check", "render", "max_batch", "update")


KIND = Kind(
    group="renderers",
    word="renderer",
    options=RendererOptions,
    verbs={"build": Verb(("aabb",), (), check_renderer)},
)
