"""Kernel alignment regularisation: learned attention draws a field's value towards a mean of its values elsewhere."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import AdamSettings, Domain, Lattice, RadianceField, RunContext, SignalField, SurfaceField
from fieldengine_plugins.activations.siren import Siren
from fieldengine_plugins.hooks.attention import attended

SQUARED = 1e-12  # added under the root, whose slope at 0 is infinite
WIDTH, DEPTH = 100, 2  # of the hidden layers of g


@dataclass(frozen=True)
class Kar:
    """Draws the field towards means of its own values, weighted by learned attention, KAR.

    Learning Input Encodings for Kernel-Optimal Implicit Neural Representations (PEAK with KAR), eqs. 10 to 12.
    For query points x and key points X of a uniform grid, A(x, X) = softmax(g(x) . g(X)), where g is a small sine
    network with `rank` outputs in [-1, 1], trained with the field, and r(x) = f(x) - A(x, X) f(X). No point is its own
    key, which would soon take all the weight. Gradients reach f(x), f(X) and g.
      l2         mean of |r(x)| over the queries, as in eq. 12
      l2sq       mean of |r(x)|^2, smooth where r is zero
      dirichlet  the Dirichlet energy tr(F' L F) / (n m) of grid lines along each axis, with the Laplacian of A = G G'
                 without its diagonal, G = softmax of one network per axis over its `rank` features: INRR, which the
                 authors' earlier code has in place of the attention. Per axis it draws as many whole lines as `queries`
                 points fill, at least one; there are no keys
    f is the value of a signal, a signed distance in half edges of the box, or log(1 + s h) of a density s with the half
    edge h, so that dense places neither vanish nor dominate.

    The paper adds sums over pixels and over the grid; here both are means, so its lambda is `weight` times pixels over
    points of the grid. It finds lambda 0.01 to 0.1 and rank 100 best; g, grid and rates are not published. In the paper
    all points of the grid are keys. If keys are drawn for each step, a `window` of neighbours fills hidden pixels far
    better than as many keys anywhere, of which even the nearest is too far away (docs/quality.md).

    A step evaluates the field at as many points as there are keys or queries, whichever are more, and stores their
    graph, but never the matrix A. 1024 keys add 0.2 to 0.4 of a step on all of 256 x 256 pixels, 4096 about 0.6; with
    `keys: null` all of a grid of 256 attends to all of it, 4 billion logits a step.

    Scene: `training: {hooks: [{type: kar, weight: 0.01, grid: 256}]}`
    """

    weight: Annotated[float, Field(gt=0)] = 0.01
    """factor of the penalty"""
    rank: Annotated[int, Field(ge=1)] = 100
    """number of features whose inner product compares two points"""
    grid: Annotated[int, Field(ge=2)] = 64
    """points per axis of the grid of queries and keys; for an image as many as it has pixels per side, as points that
    lie pixels apart look different. It fills the box, including what `dataset.grid: isotropic` leaves empty"""
    keys: Annotated[int, Field(ge=2)] | None = 1024
    """points of the grid to average over, redrawn for each step; null, or more than it has, takes all of them"""
    queries: Annotated[int, Field(ge=1)] | None = None
    """points of the grid to compare with their mean; null takes the keys themselves, which costs least"""
    draw: Literal["window", "anywhere"] = "window"
    """where keys and queries are drawn: in a square, or cube, of at most that many neighbours; or anywhere"""
    mode: Literal["l2", "l2sq", "dirichlet"] = "l2"
    """which penalty, see above"""
    omega: Annotated[float, Field(gt=0)] | None = None
    """frequency of g's first layer, per half edge of the box: initially a point attends to keys within about
    1 / omega; null is half of `grid`, so these are its nearest neighbours"""
    lr: Annotated[float, Field(gt=0)] = 1.0
    """g's learning rate, as a multiple of training.lr"""

    def build(self, *, field: nn.Module, domain: Domain, context: RunContext) -> nn.Module:
        if not isinstance(field, SignalField | SurfaceField | RadianceField):
            raise ValueError(f"{type(field).__name__} has none of values, sdf and density, so it has no f to compare")
        cuda = [context.device] if context.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(int(torch.randint(2**62, (), generator=context.generator)))
            module = KarModule(self, domain, context.generator)
        return module.to(context.device)


class KarModule(nn.Module):
    """The penalty and its networks."""

    def __init__(self, options: Kar, domain: Domain, generator: torch.Generator):
        super().__init__()
        self.options, self.aabb, self.generator = options, domain.aabb, generator
        self.points = Lattice(options.grid)
        self.adam = AdamSettings(lr_scale=options.lr)
        dim = domain.aabb.dim
        if options.mode == "dirichlet":
            self.networks = nn.ModuleList(sine_network(1, options, bounded=False) for _ in range(dim))
        else:
            self.networks = nn.ModuleList([sine_network(dim, options, bounded=True)])

    def penalty(self, step: int, field: Any, points: Tensor) -> Tensor:
        """points (grid^d, d) in own coordinates -> weight times the mean over queries, ()."""
        ask = functools.partial(values_of, field, self.aabb)
        found = self._dirichlet(ask, points) if self.options.mode == "dirichlet" else self._attention(ask, points)
        return self.options.weight * found

    def _attention(self, ask: Any, points: Tensor) -> Tensor:
        n_keys = min(self.options.keys or len(points), len(points))
        n_queries = min(self.options.queries or n_keys, len(points))
        # queries and keys are the first of the same points, so query i is key i
        x = self._neighbours(points, max(n_keys, n_queries))
        if n_keys != n_queries:
            x = self._shuffled(x)
        f, g = ask(x), self.networks[0](self.aabb.to_unit(x))
        off = f[:n_queries] - attended(g[:n_queries], g[:n_keys], f[:n_keys])
        squared = off.square().sum(dim=-1)
        if self.options.mode == "l2sq":
            return squared.mean()
        return ((squared + SQUARED).sqrt() - SQUARED**0.5).mean()

    def _dirichlet(self, ask: Any, points: Tensor) -> Tensor:
        n, dim = self.options.grid, points.shape[1]
        n_points = self.options.queries or self.options.keys or len(points)
        n_lines = min(max(1, n_points // n), n ** (dim - 1))
        place = torch.linspace(-1.0, 1.0, n, device=points.device)[:, None]
        total = points.new_zeros(())
        for axis, network in enumerate(self.networks):
            apart = n ** (dim - 1 - axis)  # rows from one point of a line to the next
            number = self._drawn(torch.arange(n ** (dim - 1), device=points.device), n_lines)
            first = torch.div(number, apart, rounding_mode="floor") * (apart * n) + number % apart
            lines = points[first + apart * torch.arange(n, device=points.device)[:, None]]  # (n, lines, d)
            f = ask(lines.reshape(-1, dim)).reshape(n, -1)
            total = total + line_energy(network(place).softmax(dim=-1), f) / (n * n_lines)
        return total

    def _neighbours(self, points: Tensor, count: int) -> Tensor:
        """At most `count` points of the grid, (m, d); in a window never fewer than 2^d.

        A window may start beyond the border and is then moved inside: so border points are drawn as often as those in
        the middle, and points next to them up to twice as often per axis.
        """
        n, dim = self.options.grid, points.shape[1]
        if self.options.draw == "anywhere" or count == len(points):
            return self._drawn(points, count)
        side = max(2, math.floor(count ** (1.0 / dim) + 1e-9))  # a single point would have only itself as a key
        window = points.view(*[n] * dim, dim)
        for axis in range(dim):
            first = int(torch.randint(1 - side, n, (), generator=self.generator))
            window = window.narrow(axis, min(max(first, 0), n - side), side)
        return window.reshape(-1, dim)

    def _drawn(self, points: Tensor, count: int) -> Tensor:
        """`count` of the rows in random order, or all of them unchanged, without drawing random numbers."""
        return points if count == len(points) else self._shuffled(points, count)

    def _shuffled(self, points: Tensor, count: int | None = None) -> Tensor:
        return points[torch.randperm(len(points), generator=self.generator)[:count].to(points.device)]


def sine_network(in_dim: int, options: Kar, *, bounded: bool) -> nn.Module:
    """g: (m, in_dim) in [-1, 1] -> (m, rank), in [-1, 1] if bounded, so that logits stay below the rank."""
    sine = Siren(omega=1.0, first_omega=options.omega or 0.5 * options.grid)
    widths = [in_dim, *[WIDTH] * DEPTH]
    hidden = [sine.hidden(a, b, is_first=i == 0) for i, (a, b) in enumerate(itertools.pairwise(widths))]
    last = sine.hidden(WIDTH, options.rank, is_first=False) if bounded else sine.output(WIDTH, options.rank)
    return nn.Sequential(*hidden, last)


def values_of(field: Any, aabb: Any, x: Tensor) -> Tensor:
    """The regularised values of a field at x (m, d) in own coordinates, (m, c) float32."""
    half_edge = aabb.half_edge
    if isinstance(field, SignalField):
        return field.values(x).float()
    if isinstance(field, SurfaceField):
        return field.sdf(x)[0][:, None].float() / half_edge
    return (field.density(x)[0][:, None].float() * half_edge).log1p()


def line_energy(features: Tensor, values: Tensor) -> Tensor:
    """tr(F' L F) for L = D - A, A = G G' with its diagonal zeroed, D = its row sums: (n, r), (n, m) -> ().

    The diagonal cancels, so it is sum_i (G_i . sum_j G_j) |F_i|^2 - |G' F|^2, without an n x n matrix. Each column's
    mean is in the null space of L; subtracting it keeps precision for large, nearly equal values.
    """
    values = values - values.mean(dim=0)
    degree = features @ features.sum(dim=0)
    return (degree @ values.square()).sum() - (features.T @ values).square().sum()
