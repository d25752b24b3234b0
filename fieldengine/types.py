"""The data that travels between the parts: small frozen records of tensors.

Shapes: n items (pixels, points or rays), m samples, d space dimensions, c channels. Everything is float32 unless a
line says otherwise. Cameras are OpenGL (x right, y up, looking along -z); directions are unit; t is distance along
the ray.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Aabb:
    """An axis-aligned box in the data set's own coordinates and units: `lower` (d,), `upper` (d,)."""

    lower: Tensor
    upper: Tensor

    @classmethod
    def of(cls, lower: Any, upper: Any) -> Aabb:
        """A box from two sequences of numbers."""
        return cls(torch.as_tensor(lower, dtype=torch.float32), torch.as_tensor(upper, dtype=torch.float32))

    @property
    def dim(self) -> int:
        return self.lower.shape[0]

    @property
    def size(self) -> Tensor:
        """Edge lengths (d,)."""
        return self.upper - self.lower

    @property
    def centre(self) -> Tensor:
        return 0.5 * (self.lower + self.upper)

    @property
    def half_edge(self) -> float:
        """Half the longest edge: the length that counts as one where a signed distance is trained."""
        return 0.5 * float(self.size.max())

    @property
    def diagonal(self) -> float:
        return float(torch.linalg.vector_norm(self.size))

    def to_unit(self, positions: Tensor) -> Tensor:
        """(m, d) own coordinates -> (m, d) in [-1, 1] inside the box; carries gradient."""
        return (positions - self.lower) * (2.0 / self.size) - 1.0

    def from_unit(self, unit: Tensor) -> Tensor:
        """The inverse of `to_unit`."""
        return self.lower + (unit + 1.0) * (0.5 * self.size)

    def grid(self, n: int) -> Tensor:
        """A uniform grid over the box, both faces included: (n**d, d), last axis fastest."""
        axes = [torch.linspace(float(a), float(b), n) for a, b in zip(self.lower, self.upper, strict=True)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, self.dim).to(self.lower)

    def to(self, device: torch.device | str) -> Aabb:
        return Aabb(self.lower.to(device), self.upper.to(device))


@dataclass(frozen=True)
class Rows:
    """Base of the records whose every tensor has one row per item: they can be counted, cut and moved."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows: Tensor | slice) -> Self:
        return self._map(lambda value: value[rows])

    def to(self, device: torch.device | str) -> Self:
        return self._map(lambda value: value.to(device))

    def _map(self, change: Any) -> Self:
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: change(value) for name, value in parts.items() if value is not None})


@dataclass(frozen=True)
class Points(Rows):
    """Places at which a field is asked directly: `positions` (n, d)."""

    positions: Tensor


@dataclass(frozen=True)
class Rays(Rows):
    """Half-lines.

    Attributes:
        origins, viewdirs: (n, 3), directions unit; (n, 2) in the plane.
        camera_indices: (n,) int64, which training image each comes from; None where they come from none of them.
    """

    origins: Tensor
    viewdirs: Tensor
    camera_indices: Tensor | None = None


Items = Points | Rays


@dataclass(frozen=True)
class Batch(Rows):
    """What one step learns from.

    Attributes:
        items: n points or rays.
        targets: (n, c), what the renderer should return for them.
        background: (n, c) colour behind each ray, or None where nothing lies behind.
        indices: (n,) int64, which items of the data set these are.
    """

    items: Items
    targets: Tensor
    background: Tensor | None
    indices: Tensor


@dataclass(frozen=True)
class Samples:
    """Intervals along rays, packed: those of one ray are neighbours, rays in ascending order.

    Attributes:
        t_starts, t_ends: (m,) distances along the ray.
        ray_indices: (m,) int64, the ray each interval belongs to, never descending.
        n_rays: how many rays there are, those without samples included.
        stages: what a sampler found on the way to these, coarse first: intervals and their weights.
    """

    t_starts: Tensor
    t_ends: Tensor
    ray_indices: Tensor
    n_rays: int
    stages: tuple[Stage, ...] = ()

    def __len__(self) -> int:
        return len(self.t_starts)

    def midpoints(self, rays: Rays) -> Tensor:
        """The middle of each interval in space, (m, 3)."""
        t = 0.5 * (self.t_starts + self.t_ends)
        return rays.origins[self.ray_indices] + t[:, None] * rays.viewdirs[self.ray_indices]


@dataclass(frozen=True)
class Stage:
    """Intervals of an earlier stage and their share in their rays' colour, `weights` (m,), which may carry gradient."""

    samples: Samples
    weights: Tensor


@dataclass(frozen=True)
class Rendered:
    """What a renderer returns for n items.

    Attributes:
        values: (n, c), compared with the targets; carries gradient to the field.
        opacity: (n,) in [0, 1], or None where nothing is integrated.
        depth: (n,) expected distance along the ray, 0 where nothing was hit; or None.
        samples: the intervals that were integrated, or None.
        weights: (m,) share of each interval in its ray's colour, or None.
        losses: name -> (n,), added to each item's loss; their factors are keys of whoever makes them.
    """

    values: Tensor
    opacity: Tensor | None = None
    depth: Tensor | None = None
    samples: Samples | None = None
    weights: Tensor | None = None
    losses: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class RunContext:
    """What every part of a run may know: where it computes, and its two sources of randomness, both checkpointed.

    Attributes:
        generator: on the CPU, for hooks, and whatever is drawn seldom.
        warn_once: says a sentence to the person who trains, and to the log; the same sentence once.
    """

    device: torch.device
    generator: torch.Generator
    seed: int
    warn_once: Callable[[str], None] = lambda _: None

    @functools.cached_property
    def device_generator(self) -> torch.Generator:
        """On `device`, for what every step draws: items, samples, backgrounds. On a CPU it is `generator`."""
        if self.device.type == "cpu":
            return self.generator
        return torch.Generator(self.device).manual_seed(self.seed)

    def random_state(self) -> dict[str, Tensor]:
        """All that `set_random_state` needs to draw the same numbers again."""
        state = {"generator": self.generator.get_state()}
        if self.device_generator is not self.generator:
            state["device_generator"] = self.device_generator.get_state()
        return state

    def set_random_state(self, state: Mapping[str, Tensor]) -> None:
        self.generator.set_state(state["generator"])
        if self.device_generator is not self.generator:
            self.device_generator.set_state(state["device_generator"])


@dataclass(frozen=True)
class AdamSettings:
    """How Adam treats the parameters of one module. A module asks for it with an attribute `adam` of this type.

    With `sparse`, numbers whose gradient is zero are left alone (`fieldengine.ops.adam_where_touched`), and gradients
    may be sparse tensors: for tables of which a step touches a part.
    """

    lr_scale: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    sparse: bool = False


class PixelGrid(Protocol):
    """Pixels in rows: those of a camera, each a ray, or those of a signal of 1 to 4 dimensions, each a point."""

    @property
    def shape(self) -> tuple[int, ...]:
        """How many there are along each axis; (height, width) of an image."""
        ...

    def items(self, pixels: Tensor) -> Items:
        """Flat pixel numbers (n,), the last axis fastest -> the n points or rays behind them."""
        ...

    def resized(self, *shape: int) -> PixelGrid:
        """The same view or signal cut into other pixels."""
        ...

    def describe(self) -> dict[str, Any]:
        """What `fieldengine.cameras.restore.restore` needs to make it again, as plain JSON."""
        ...


@dataclass(frozen=True)
class View:
    """An image, or a signal of another dimension, to compare with.

    Attributes:
        target: (pixels, c); images lie in [0, 1].
        background: (c,) colour behind it, or None.
        hidden: (pixels,) bool, pixels that training does not see; None where it may see all.
    """

    name: str
    grid: PixelGrid
    target: Tensor
    background: Tensor | None
    hidden: Tensor | None = None


@dataclass(frozen=True)
class Domain:
    """What is known about the data once it is read, and all that a trained field needs to remember of it.

    Attributes:
        task: what is fitted, in a word for summaries and messages, such as `image`; decides nothing.
        aabb: where the field lives, in the data set's own coordinates.
        out_dim: channels c of a value.
        grid: the pixels that `render` shows when nothing else is asked; None where there are none.
        centre, radius, up: the circle a turntable camera runs on (3-D only); `elevation` in radians above its plane.
        background: (c,) colour behind everything in a rendered image, or None.
        n_cameras: training images that have a camera; `Rays.camera_indices` counts them.
    """

    task: str
    aabb: Aabb
    out_dim: int
    grid: PixelGrid | None = None
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius: float = 1.0
    elevation: float = 0.5
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    background: tuple[float, ...] | None = None
    n_cameras: int = 0

    @property
    def is_image(self) -> bool:
        """Whether a signal over the plane is fitted, some of its pixels perhaps hidden."""
        return self.aabb.dim == 2 and self.grid is not None and len(self.grid.shape) == 2

    def image_shape(self, n_items: int) -> tuple[int, int] | None:
        """(height, width) where the data's `n_items` are the pixels of one image, row by row; else None."""
        if not self.is_image or self.grid is None or math.prod(self.grid.shape) != n_items:
            return None
        return self.grid.shape[0], self.grid.shape[1]
