"""Hooks: they take part in the training step, in one or more of three places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import is_count, takes
from fieldengine.types import Batch, Rendered

Span = Literal["item", "tile", "batch"]


class HookOptions(Protocol):
    """Options of a hook. `build` may name field, domain, n_items, steps, context.

    What it returns has one or more of the three roles below. An nn.Module is trained beside the field. State behind
    `state_dict` and `load_state_dict` is checkpointed.
    """

    def build(self, **known: Any) -> Any: ...


class ErrorOracle(Protocol):
    """Lets a sampler ask how well items are fitted now. Nothing is computed unless it asks, or carries gradient."""

    n_items: int

    def targets(self, indices: Tensor) -> Tensor:
        """(n,) -> (n, c): what should be rendered."""
        ...

    def residuals(self, indices: Tensor) -> Tensor:
        """(n,) -> (n, c): rendered minus target. Costs a forward pass of these items."""
        ...

    def tangent(self, indices: Tensor, cotangent: Tensor) -> Tensor:
        """(n,), g (n, c) -> (n, c): K g, K = J J^T and J the Jacobian of these items' values in the field's parameters.

        How these values would change in a step along J^T g. Costs about three gradients of the items.
        """
        ...


@runtime_checkable
class BatchSampler(Protocol):
    """Chooses the pixels, points or rays of a step. At most one hook of a run offers it."""

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        """-> (n,) int64 item numbers in [0, scores.n_items)."""
        ...


class Unchanged:
    """The type of `UNCHANGED`."""


UNCHANGED: Final = Unchanged()  # what `prepare` returns for a step whose cotangents stay as they are
Order = Tensor | Sequence[Tensor] | Unchanged | None


@runtime_checkable
class GradientTransform(Protocol):
    """Replaces the cotangent g = dL/d(values) by another before back-propagation. At most one hook of a run offers it.

    Attributes:
        span: `item` where each row of the answer depends on its own row alone; `tile` where it mixes the rows of one
            tile; `batch` where it needs the rows of all of them, which costs a second forward pass. It is read once,
            before training.
    """

    span: Span

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> Order:
        """Called once a step, before any tile.

        May return the order (n,) in which items are cut into tiles, or that order in blocks, each of which stays in
        one tile; all that is adjusted comes in this order. With `UNCHANGED` nothing is adjusted in this step.
        """
        ...

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
        """(n, c) -> (n, c), float32, of what is in a tile.

        Args:
            cotangent: of the mean over the whole batch. With span `batch`, all of it comes at once.
            batch: the tile's part of the step's batch.
            rendered: of the tile; with span `batch` its values alone.
            rows: which rows of the step's batch these are, in the order that `prepare` asked for.
        """
        ...


@dataclass(frozen=True)
class Lattice:
    """A uniform grid over the field's box: `per_axis` points along each axis, both faces included.

    The last axis runs fastest.
    """

    per_axis: int


@dataclass(frozen=True)
class NearSamples:
    """`n` places drawn from where a step looked at the field, its points or the samples along its rays.

    Each is moved by a normal step with a standard deviation of `spread` longest edges of the box.
    """

    n: int
    spread: float = 0.0


@runtime_checkable
class Regularizer(Protocol):
    """Adds a penalty on points. Any number of them may be used.

    Attributes:
        points: which points `penalty` receives.
    """

    points: Lattice | NearSamples

    def penalty(self, step: int, field: nn.Module, points: Tensor) -> Tensor:
        """points (g, d) in own coordinates -> scalar (), carries gradient."""
        ...


@dataclass(frozen=True)
class Role:
    """One of the three: its first method shows that it is meant; the engine calls each with these arguments."""

    name: str
    methods: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...] = ()


ROLES = (
    Role("BatchSampler", {"select": ("step", "n", "scores")}),
    Role(
        "GradientTransform",
        {"adjust": ("cotangent", "batch", "rendered", "rows"), "prepare": ("step", "field", "batch")},
        ("span",),
    ),
    Role("Regularizer", {"penalty": ("step", "field", "points")}, ("points",)),
)


def check_hook(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where a hook has no role, or a part of one, or methods that take other arguments."""
    meant = [role for role in ROLES if callable(getattr(found, next(iter(role.methods)), None))]
    if not meant:
        listing = "; ".join(f"{', '.join([*role.methods, *role.attributes])} ({role.name})" for role in ROLES)
        raise PluginError(f"{type(found).__name__} offers nothing that the engine asks for: {listing}")
    for role in meant:
        missing = [name for name in (*role.methods, *role.attributes) if not hasattr(found, name)]
        if missing:
            raise PluginError(f"{type(found).__name__} has no {' and no '.join(missing)}, which a {role.name} needs")
        for name, arguments in role.methods.items():
            takes(getattr(found, name), f"{type(found).__name__}.{name}", arguments)
    if isinstance(found, GradientTransform) and found.span not in ("item", "tile", "batch"):
        raise PluginError(f'expected span to be "item", "tile" or "batch", found {found.span!r}')
    if isinstance(found, Regularizer):
        _check_points(found.points)
    kept = [name for name in ("state_dict", "load_state_dict") if callable(getattr(found, name, None))]
    if len(kept) == 1:
        raise PluginError(
            f"{type(found).__name__} has {kept[0]} alone; a state is kept by state_dict and load_state_dict"
        )


def _check_points(points: Any) -> None:
    if isinstance(points, Lattice) and is_count(points.per_axis, least=2):
        return
    if isinstance(points, NearSamples) and is_count(points.n):
        return
    raise PluginError(f"expected points to be a Lattice of 2 or more per axis, or some NearSamples; found {points!r}")


KIND = Kind(
    group="hooks",
    word="hook",
    options=HookOptions,
    verbs={"build": Verb(("field", "domain", "n_items", "steps", "context"), (), check_hook)},
)
