"""Random inputs for every operation of fieldengine.ops, the same on every machine.

Positions keep away from the borders between cells. There the last bit would choose the cell, and with it another
gradient or one more sample. So the results of two machines differ by rounding only, or one of them is wrong.
"""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from fieldengine import ops
from fieldengine.types import Aabb, Rays, Samples

MARGIN = 1e-4  # of a cell or a step; the error of a position in float32 is a tenth of it
MARCH = 0.01  # length of a step
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """An operation and its arguments: tensors of float32, int64 and bool on the CPU.

    Attributes:
        make: draws the arguments. Gradients are taken with respect to positional tensors of real numbers.
        floor: a relative error in float32 that is always allowed.
        in_place: the operation changes its arguments and has no gradients.
    """

    operation: str
    note: str
    make: Callable[[], Arguments]
    floor: float = 2e-5
    in_place: bool = False


@dataclass(frozen=True)
class Size:
    """The size of the inputs.

    Attributes:
        samples: the most samples of one ray.
        rows, width: of a dense layer.
        finest: cells per axis of the finest level, by dimension.
        cells, occupied: cells per axis of an occupancy grid, and the share of them that is occupied.
    """

    name: str
    rays: int = 300
    samples: int = 30
    points: int = 300
    rows: int = 200
    width: int = 24
    levels: int = 3
    coarsest: int = 2
    finest: dict[int, int] = field(default_factory=lambda: {1: 60, 2: 12, 3: 8, 4: 6})
    log2_table: int = 5
    cells: int = 16
    occupied: float = 0.3


SMALL = Size("small")
STEP = Size(
    "as in a step",
    rays=4096,
    samples=16,
    points=1 << 15,
    rows=1 << 15,
    width=64,
    levels=12,
    coarsest=16,
    finest={2: 384, 3: 512},
    log2_table=17,
    cells=64,
    occupied=0.07,
)


def cases(size: Size, features: tuple[int, ...] = (2,)) -> Iterator[Case]:
    """All operations. `features`: numbers per entry of the hash grids."""
    n = size.rays
    yield Case("exclusive_sum", "", lambda: of_samples(size, lambda m: (random(m),)))
    yield Case("sum_by_ray", "of one number", lambda: of_samples(size, lambda m: (random(m),)))
    yield Case("sum_by_ray", "of three", lambda: of_samples(size, lambda m: (random(m, 3),)))
    yield Case("argmax_by_ray", "with ties", lambda: of_samples(size, lambda m: ((4 * random(m)).round(),)))
    yield Case("weights_from_density", "", lambda: along(size, lambda m: (40 * random(m),)))
    yield Case("weights_from_alpha", "some opaque", lambda: along(size, lambda m: (opacities(m),)))
    yield Case("accumulate", "", lambda: along(size, lambda m: (random(m), random(m, 3, seed=7))))
    yield Case("intersect_aabb", "", lambda: ((rays(n), box(), 0.1), {}))
    yield Case("march", "with jitter", lambda: marched(size))
    yield Case("sample_pdf", "middles", lambda: histogram(n), floor=1e-4)
    yield Case("sample_pdf", "with jitter", lambda: histogram(n, random(n, 20, seed=9)), floor=1e-4)
    yield Case("sparse_gram", "", lambda: shared_entries(size))
    yield Case("adam_where_touched", "dense", lambda: table_to_step(size), in_place=True)
    yield Case("adam_where_touched", "sparse", lambda: table_to_step(size, sparse=True), in_place=True)
    yield Case("dense", "sine", lambda: layer(size, RISING_SINE, 3.0))
    yield Case("dense", "of complex numbers", lambda: layer(size, TWIST, 3.0))
    yield Case("table_gradients", "", lambda: tables_by_position(size))
    for dim in size.finest:
        for entries in features if dim == 3 else (2,):  # each may be compiled separately
            for smooth in (False, True):
                note = f"{dim}-D, {entries} features{', smooth' * smooth}"
                yield Case("hash_encode", note, partial(encoded, size, dim, entries, smooth=smooth))
    yield Case("hash_encode", "3-D, sparse", partial(encoded, size, 3, 2, sparse=True))
    yield Case("pointwise", "sine", lambda: ((4 * random(size.rows, size.width) - 2, RISING_SINE, 3.0), {}))
    yield Case("pointwise", "of complex numbers", lambda: ((random(size.rows, size.width), TWIST, 3.0), {}))


def activations(size: Size) -> Iterator[Case]:
    """`pointwise` with each formula of the included activations and its default constants."""
    package = import_module("fieldengine_plugins.activations")
    for name in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
        module = import_module(f"{package.__name__}.{name}")
        formulas = {key: f for key, f in vars(module).items() if isinstance(f, ops.RealFunction | ops.ComplexFunction)}
        for key, function in formulas.items():
            options = next(c for c in vars(module).values() if inspect.isclass(c) and hasattr(c, "hidden"))()
            names = list(inspect.signature(function.value).parameters)
            constants = [getattr(options, n) for n in names[1 if isinstance(function, ops.RealFunction) else 2 :]]
            u = partial(random, size.rows, size.width)
            make = lambda u=u, f=function, c=tuple(constants): ((u() - 0.5, f, *c), {})  # noqa: E731
            yield Case("pointwise", f"{name}.{key}", make)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def rays(n: int) -> Rays:
    """Rays from around the box. Some miss it, some run within its faces."""
    origins = 4 * random(n, 3) - 2
    towards = random(n, 3, seed=1) - 0.5 - 0.4 * origins
    towards[: n // 10, 0] = 0
    origins[: n // 20, 0] = 1
    return Rays(origins, torch.nn.functional.normalize(towards, dim=-1))


def box() -> Aabb:
    return Aabb.of([-1, -1, -1], [1, 1, 1.5])


def packed(size: Size) -> Samples:
    """Packed samples; some rays have none."""
    counts = torch.randint(0, size.samples, (size.rays,), generator=torch.Generator().manual_seed(2))
    counts[::7] = 0
    indices = torch.arange(size.rays).repeat_interleave(counts)
    # t starts at 2 for every ray; one sum over all intervals would not be exact in float32
    widths = 0.01 + 0.1 * random(2 * len(indices), seed=3)
    borders = 2.0 + ops.exclusive_sum.reference(widths, indices.repeat_interleave(2), size.rays)
    return Samples(borders[::2], borders[1::2], indices, size.rays)


def of_samples(size: Size, values: Callable[[int], tuple[Tensor, ...]]) -> Arguments:
    samples = packed(size)
    return (*values(len(samples)), samples.ray_indices, samples.n_rays), {}


def along(size: Size, values: Callable[[int], tuple[Tensor, ...]]) -> Arguments:
    samples = packed(size)
    return (samples, *values(len(samples))), {}


def opacities(m: int) -> Tensor:
    alpha = 0.9 * random(m, seed=6)
    alpha[::5], alpha[1::5] = 1.0, 0.0
    return alpha


def marched(size: Size) -> Arguments:
    some, jitter = rays(size.rays), 0.05 + 0.9 * random(size.rays, seed=5)
    ends = ops.intersect_aabb.reference(some, box())
    clear = away_from_cells(some, *ends, jitter, size.cells)
    occupied = random(*3 * (size.cells,), seed=4) < size.occupied
    keys = {"step": MARCH, "aabb": box(), "occupied": occupied, "jitter": jitter[clear]}
    return (some[clear], *(t[clear] for t in ends)), keys


def away_from_cells(some: Rays, t_near: Tensor, t_far: Tensor, jitter: Tensor, cells: int) -> Tensor:
    """Which rays (n,) keep all midpoints away from borders between cells, and have no last step of almost no length."""
    near, far, start = t_near.double(), t_far.double(), t_near.double() + (jitter.double() - 1.0) * MARCH
    count = (far - start) / MARCH
    k = torch.arange(int(count.max()) + 2)
    t0 = torch.maximum(start[:, None] + k * MARCH, near[:, None])
    t1 = torch.minimum(start[:, None] + (k + 1) * MARCH, far[:, None])
    x = some.origins[:, None].double() + (0.5 * (t0 + t1))[..., None] * some.viewdirs[:, None].double()
    place = (x - box().lower) * (cells / box().size.double())
    clear = ((place - place.round().clamp(1, cells - 1)).abs() > MARGIN).all(-1) | (t1 <= t0)
    return clear.all(-1) & ((count - count.round()).abs() > MARGIN)


def histogram(n: int, jitter: Tensor | None = None) -> Arguments:
    """Some intervals have no weight; on one ray none has any."""
    weights = (random(n, 9) - 0.3).clamp(min=0)
    weights[3] = 0
    return (random(n, 10, seed=8).cumsum(1), weights, 20, jitter), {}


def shared_entries(size: Size) -> Arguments:
    n, m = size.rays // 8, size.points * 2
    item, entry = (random(m, seed=s).mul(high).long() for s, high in ((11, n), (12, m // 8)))
    return (item, entry, random(m, 2, seed=13)), {"n": n}


def grid(size: Size, dim: int) -> tuple[tuple[ops.GridLevel, ...], int]:
    """Levels, and the number of their entries."""
    levels = ops.grid_levels(dim, size.levels, size.coarsest, size.finest[dim], size.log2_table)
    return levels, levels[-1].offset + levels[-1].size


def positions(n: int, dim: int, levels: tuple[ops.GridLevel, ...]) -> Tensor:
    """At most n positions (m, dim), some outside the unit box, none near the border of a cell on any level."""
    x = 1.4 * random(n, dim, seed=10) - 0.2
    place = x.double().clamp(0, 1)[..., None] * torch.tensor([level.scale for level in levels]).double() + 0.5
    return x[((place - place.round()).abs() > 10 * MARGIN).all(-1).all(-1)]


def encoded(size: Size, dim: int, features: int, **keys: bool) -> Arguments:
    levels, entries = grid(size, dim)
    return (positions(size.points, dim, levels), random(entries, features) - 0.5, levels), keys


def tables_by_position(size: Size) -> Arguments:
    """Only a few, because the result has a whole table for each position."""
    levels, entries = grid(dataclasses.replace(size, log2_table=min(size.log2_table, 10)), 3)
    x = positions(200, 3, levels)
    return (x, random(entries, 2) - 0.5, random(len(x), 2 * len(levels), seed=14) - 0.5, levels), {}


def table_to_step(size: Size, *, sparse: bool = False) -> Arguments:
    """A table, a gradient that is zero for a third of it, and Adam's moments."""
    rows = grid(size, 3)[1]
    table, gradient = random(rows, 2) - 0.5, random(rows, 2, seed=15) - 0.5
    gradient[::3] = 0
    moments = [0.1 * (random(rows, 2, seed=16) - 0.5), 0.1 * random(rows, 2, seed=17), torch.ones(rows, 2)]
    keys: dict[str, Any] = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-10, "weight_decay": 0.01}
    if sparse:
        touched = torch.arange(0, rows, 5).repeat(2)  # each row twice: its gradients add up
        gradient = torch.sparse_coo_tensor(
            touched[None], random(len(touched), 2, seed=18) - 0.5, table.shape, check_invariants=False
        )
        keys["sums"] = torch.zeros_like(table)
    return (table, gradient, *moments), keys


def layer(size: Size, function: ops.RealFunction | ops.ComplexFunction, *constants: float) -> Arguments:
    weight = 2 * (random(size.width, size.width, seed=19) - 0.5) / size.width**0.5
    return (random(size.rows, size.width) - 0.5, weight, random(size.width, seed=20) - 0.5, function, *constants), {}


def value(u: Any, omega: float) -> Any:
    return ops.sin(omega * (abs(u) + 1.0) * u)


def slope(u: Any, omega: float) -> Any:
    return omega * (2.0 * abs(u) + 1.0) * ops.cos(omega * (abs(u) + 1.0) * u)


def twisted(a: Any, b: Any, omega: float) -> Any:
    return ops.cos(omega * a) * ops.exp(-b), ops.tanh(a * b)


def pullback_of_twisted(a: Any, b: Any, g: Any, h: Any, omega: float) -> Any:
    even, bend = ops.cos(omega * a) * ops.exp(-b), 1.0 - ops.tanh(a * b) * ops.tanh(a * b)
    return -omega * ops.sin(omega * a) * ops.exp(-b) * g + bend * b * h, -even * g + bend * a * h


RISING_SINE = ops.RealFunction(value, slope)
TWIST = ops.ComplexFunction(twisted, pullback_of_twisted)
