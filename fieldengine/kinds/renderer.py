"""Renderers: they turn a field and items into values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Generator, Tensor, nn

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Module, Verb
from fieldengine.kinds.probe import described, has_methods, is_count, is_module
from fieldengine.types import Aabb, Items, Rendered, Samples


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
    """Raise PluginError where what was built is not a renderer. What it renders is checked once there are items."""
    is_module(found, "build", "a renderer")
    has_methods(
        found,
        "a renderer",
        check=("field", "items"),
        render=("field", "items", "*", "background", "generator"),
        max_batch=("wanted",),
        update=("field", "step", "generator"),
    )
    check_max_batch(found.max_batch(8), 8)


def check_max_batch(found: Any, wanted: int) -> None:
    """Raise PluginError where a step would get no number of items, or more than it wants."""
    if not is_count(found) or found > wanted:
        raise PluginError(f"expected max_batch({wanted}) to return 1 to {wanted}, found {found!r}")


def check_rendered(found: Any, n: int) -> None:
    """Raise PluginError where n items were not rendered to a row each."""
    if not isinstance(found, Rendered):
        raise PluginError(f"expected render(field, items, ...) to return Rendered, found {described(found)}")
    values = found.values
    if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != n or not values.is_floating_point():
        raise PluginError(f"expected values ({n}, c) for {n} items, found {described(values)}")
    for name, part in (("opacity", found.opacity), ("depth", found.depth)):
        if part is not None and (not isinstance(part, Tensor) or part.shape != (n,)):
            raise PluginError(f"expected {name} ({n},) or None for {n} items, found {described(part)}")
    if found.samples is not None and not isinstance(found.samples, Samples):
        raise PluginError(f"expected Samples or None as samples, found {described(found.samples)}")
    check_losses(found.losses, n)


def check_losses(losses: Any, n: int) -> None:
    """Raise PluginError for losses that are not by name, and a number per item."""
    if not isinstance(losses, Mapping) or not all(isinstance(name, str) for name in losses):
        raise PluginError(f"expected a mapping from names to losses, found {described(losses)}")
    for name, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.shape != (n,):
            raise PluginError(f'expected the loss "{name}" to have shape ({n},), one per item; found {described(loss)}')


KIND = Kind(
    group="renderers",
    word="renderer",
    options=RendererOptions,
    verbs={"build": Verb(("aabb",), (), check_renderer)},
)
