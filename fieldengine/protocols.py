"""What each kind of plugin offers. A plugin is a frozen dataclass of options, found by entry point.

The dataclass' fields are the keys of its scene block: type, default, and a docstring line below each. Its `build`
receives, by keyword, what it names of what the engine knows, and returns the working object. Activations and
exporters are used as they are. A class may carry `api_version = 1`; an engine that does not know the number refuses
the plugin by name.

Shapes as in `fieldengine.types`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from torch import Generator, Tensor, nn

from fieldengine.types import Aabb, Batch, Domain, Rays, Rendered, RunContext, Samples, View

API_VERSION = 1


@dataclass(frozen=True)
class Slot:
    """Marks a key that holds another plugin: `encoding: Annotated[Encoding, Slot("encodings", "identity")]`.

    Attributes:
        kind: the entry-point group without its `fieldengine.` prefix.
        default: the plugin taken when the key is not written; None makes the key required.
    """

    kind: str
    default: str | None = None


@dataclass(frozen=True, init=False)
class Candidates:
    """Marks a number that a scene may leave `auto`: `omega: Annotated[float, Candidates(10, 20, 40)] = 30.0`.

    The engine then takes the one of these with which the untrained field has most nearly the spectrum of the data. The
    class receives a number; its default stands in until one is chosen.
    """

    values: tuple[float, ...]

    def __init__(self, *values: float):
        object.__setattr__(self, "values", values)


# ------------------------------------------------------------------------------------------------ parts of a field


class Encoding(Protocol):
    """Options of an encoding.

    `build(in_dim)` returns a module with `out_dim` that maps (m, in_dim) in [-1, 1] to (m, out_dim).
    """

    def build(self, in_dim: int) -> EncodingModule: ...


class EncodingModule(Protocol):
    """The working encoding, an nn.Module: (m, in_dim) in [-1, 1] -> (m, out_dim).

    May tell its `highest_frequency` in radians over a unit of [-1, 1]: data with wider pixels are then warned of.
    """

    out_dim: int

    def __call__(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class Advancing(Protocol):
    """A module of a field that changes while it trains, such as an encoding whose levels come in one by one.

    What it changes must be in buffers, so that it is saved with the field.
    """

    def advance(self, done: float) -> None:
        """Called before each step with the share of the steps that are done, 0 <= done < 1."""
        ...


class Activation(Protocol):
    """Options of an activation. They make layers themselves, so that nonlinearity and initialisation stay together."""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        """A linear map and its nonlinearity, (m, in_dim) -> (m, out_dim).

        May raise ValueError for a width it cannot use, such as an odd one where numbers are complex.
        """
        ...

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        """The last linear map, without nonlinearity."""
        ...


class Parameterization(Protocol):
    """Options of how the layers of an MLP hold their weights."""

    def apply(self, layers: Sequence[nn.Module], width: int) -> Sequence[nn.Module]:
        """The layers in order, hidden ones of `width` before the last, linear one -> as many, changed or replaced.

        What `torch.nn.utils.parametrize` puts on a tensor is collapsed in an exported field. May raise ValueError for
        layers it cannot change.
        """
        ...


@runtime_checkable
class MixesRows(Protocol):
    """A module of a field whose value for one point depends, while it trains, on the other points of the step.

    The step is then not cut into tiles. Fields are in training mode where a step back-propagates, else in eval mode.
    """

    mixes_rows: bool


@runtime_checkable
class GradientsByRow(Protocol):
    """A module whose own parameters are not just those of linear maps, and that knows what each row adds to them.

    `fieldengine.ntk.gram` asks it; of modules that do not offer this it finds out by itself, many times slower.
    """

    def gradients_by_row(self, x: Tensor, g: Tensor) -> Sequence[Tensor | tuple[Tensor, Tensor]]:
        """Of each row i the gradient of <forward(x)_i, g_i> in the module's own parameters, its submodules' left out.

        Args:
            x: (m, ...), what the module was called with.
            g: (m, ...), cotangents of what it returned.

        Returns:
            Blocks of parameters, in any order and layout: (m, q), or sparse (m, q, ...); or a pair a (m, p), d (m, q)
            of which the gradient is the outer product d_i a_i^H, complex where two parameters are the parts of a
            number.
        """
        ...


class Field(Protocol):
    """Options of a field. `build(in_dim, out_dim, aabb)` returns a module with one of the three offers below."""

    def build(self, *, in_dim: int, out_dim: int, aabb: Aabb) -> nn.Module: ...


@runtime_checkable
class SignalField(Protocol):
    """Answers at points."""

    def values(self, x: Tensor) -> Tensor:
        """(m, d) in own coordinates -> (m, c)."""
        ...


@runtime_checkable
class RadianceField(Protocol):
    """Emits and absorbs light."""

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(m, 3) -> sigma (m,) >= 0 per unit of length, features (m, f)."""
        ...

    def rgb(self, features: Tensor, viewdirs: Tensor, normals: Tensor | None = None) -> Tensor:
        """Features (m, f), unit directions (m, 3) -> colour (m, 3) in [0, 1]."""
        ...


@runtime_checkable
class SurfaceField(Protocol):
    """Knows the distance to a surface."""

    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(m, 3) -> signed distance (m,) in own units, inside < 0; features (m, f)."""
        ...


# ------------------------------------------------------------------------------------------------------- rendering


class Renderer(Protocol):
    """The working object that turns a field and items into values. An nn.Module; its buffers are checkpointed."""

    def check(self, field: nn.Module, items: type) -> None:
        """Raise ValueError, before any work, where this field or these items cannot be rendered."""
        ...

    def render(self, field: Any, items: Any, *, background: Tensor | None, generator: Generator | None) -> Rendered:
        """Values of n items.

        With a generator the samples are jittered (training), without they are fixed (evaluation).
        """
        ...

    def affordable(self, batch_size: int) -> int:
        """How many of `batch_size` items one training step can afford."""
        ...

    def update(self, field: Any, step: int, generator: Generator) -> None:
        """Refresh what the renderer remembers of the field; called once before each training step."""
        ...


class AlongRay(Protocol):
    """The working object that places samples along rays. An nn.Module; its buffers are checkpointed."""

    def sample(self, rays: Rays, generator: Generator | None) -> Samples: ...
    def affordable(self, batch_size: int) -> int: ...
    def update(self, density: Callable[[Tensor], Tensor], step: int, generator: Generator) -> None: ...


# ------------------------------------------------------------------------------------------------------------ data


class Shape(Protocol):
    """A solid to compare geometry with."""

    def inside(self, x: Tensor) -> Tensor:
        """(m, 3) -> (m,) bool."""
        ...

    def closest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(m, 3) -> distance to the surface (m,) and the surface's normal at the closest point (m, 3)."""
        ...

    def surface(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """n points of the surface and their outward normals, each (n, 3)."""
        ...


class DatasetOptions(Protocol):
    """Options of a data set. `build(context)` reads the files and returns a Dataset."""

    default_field: ClassVar[str]
    default_renderer: ClassVar[str]

    def build(self, context: RunContext) -> Dataset: ...


class Dataset(Protocol):
    """Data in memory: numbered items to learn from, pictures and solids to compare with."""

    domain: Domain
    n_items: int
    shape: Shape | None

    def batch(self, indices: Tensor, generator: Generator) -> Batch:
        """The items of these numbers (n,).

        The generator serves what differs from step to step, such as a background.
        """
        ...

    def views(self, split: str) -> Sequence[View]:
        """The pictures of a split, empty where it has none."""
        ...

    def notes(self) -> Sequence[str]:
        """Warnings about what was found in the files, one sentence each."""
        ...


# ----------------------------------------------------------------------------------------------------------- hooks


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


@runtime_checkable
class GradientTransform(Protocol):
    """Replaces the cotangent g = dL/d(values) by another before back-propagation. At most one hook of a run offers it.

    Attributes:
        span: `item` where each row of the answer depends on its own row alone; `tile` where it mixes the rows of one
            tile; `batch` where it needs the rows of all of them, which costs a second forward pass.
    """

    span: Literal["item", "tile", "batch"]

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> Tensor | Sequence[Tensor] | None:
        """Called once a step, before any tile.

        May return the order (n,) in which items are cut into tiles, or that order in blocks, each of which stays in
        one tile. All that is adjusted comes in this order, so that a transform that counts rows knows whose they are.
        """
        ...

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered) -> Tensor:
        """(n, c) -> (n, c), float32, of what is in a tile: `batch` is that part of the step's batch, `rendered` of it.

        The cotangent is that of the mean over the whole batch. With span `batch`, all of it comes at once, and of
        `rendered` the values alone.
        """
        ...


@runtime_checkable
class Regularizer(Protocol):
    """Adds a penalty on a grid of points. Any number of them may be used.

    Attributes:
        grid: points per axis of the uniform grid over the field's box that `penalty` receives.
    """

    grid: int

    def penalty(self, step: int, field: nn.Module, points: Tensor) -> Tensor:
        """points (g, d) in own coordinates -> scalar (), carries gradient."""
        ...


class HookOptions(Protocol):
    """Options of a hook. `build(...)` may name any of: field, domain, n_items, steps, context."""

    def build(self, **known: Any) -> Any: ...


# ---------------------------------------------------------------------------------------------------------- export


class Trained(Protocol):
    """A field and all that is needed to use it, without the data it was trained on."""

    field: nn.Module
    renderer: Any
    domain: Domain
    recipe: dict[str, Any]


class Exporter(Protocol):
    """Options of an exporter; `fieldengine export NAME RUN --out FILE` calls `write`."""

    def write(self, trained: Trained, out: Path) -> str:
        """Writes the file and returns one sentence about it.

        Raises ValueError where this field cannot be exported so.
        """
        ...
