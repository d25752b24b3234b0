"""Inductive gradient adjustment of points in space and of rays: groups are neighbours on a space-filling curve."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fieldengine.api import Aabb, Batch, PluginError, RadianceField, Rays, Rendered, colour
from fieldengine.ops import argmax_by_ray
from fieldengine_plugins.hooks.balancing import Adjustment, Balancing

ROUND = 8
DIGITS = 10  # bits spread at once


class SpaceGroups:
    """Groups formed anew in every step: of points, or of rays by what they hit.

    The middle point represents a group of points; the ray with the largest residual, or the middle one, one of rays.
    """

    span: Literal["tile"] = "tile"

    def __init__(self, balancing: Balancing, aabb: Aabb, of_points: int, of_rays: int, *, middle: bool):
        self.balancing, self.aabb, self.middle = balancing, aabb, middle
        self.of_points, self.of_rays = of_points, of_rays
        self._of_step: Adjustment | None = None

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> Sequence[Tensor] | None:
        if isinstance(batch.items, Rays):  # what they hit is known only after rendering
            return None
        whole, rest = self._groups(batch.items.positions, self.of_points)
        if self.balancing.balanced >= len(whole):
            raise PluginError(
                f"balanced {self.balancing.balanced} needs more groups than the {len(whole)} of {self.of_points} that "
                f"a step's items make; lower balanced or patch, or raise training.batch_size"
            )
        self.balancing.tell_if_many(len(whole))
        chosen = whole[:, whole.shape[1] // 2]
        kernel = self.balancing.kernel(self.balancing.field.values, batch.items.positions[chosen])
        self._of_step = self.balancing.adjustment(kernel)
        return [*whole.t().unbind(0), *([rest] if len(rest) else [])]

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
        if isinstance(batch.items, Rays):
            return self._adjust_rays(cotangent, batch, batch.items, rendered)
        assert self._of_step is not None
        n_groups = len(self._of_step.vectors)
        count = max(0, min(len(cotangent), n_groups * self.of_points - rows.start))
        g = cotangent[:count].view(-1, n_groups, cotangent.shape[1])
        return torch.cat([self._of_step.times(g).flatten(0, 1), cotangent[count:]])

    def _adjust_rays(self, cotangent: Tensor, batch: Batch, rays: Rays, rendered: Rendered) -> Tensor:
        if rendered.samples is None or rendered.weights is None:
            raise PluginError("iga needs a renderer that tells the weights of its samples along rays")
        heaviest = heaviest_samples(rendered, len(rays))
        seen = torch.nonzero(heaviest >= 0).squeeze(1)
        samples = heaviest[seen]
        points = rendered.samples.midpoints(rays)[samples].detach()
        whole, balanced = self._groups(points, self.of_rays)[0], self.balancing.balanced
        if len(whole) <= balanced:  # happens early on, when a step affords few rays
            self.balancing.context.warn_once(
                f"iga: tiles with too few rays for {balanced + 1} groups of {self.of_rays} are left as they are. "
                f"Lower patch or balanced, or raise training.batch_size or the sampler's samples, if it goes on so"
            )
            return cotangent
        self.balancing.tell_if_many(len(whole))
        g = cotangent[seen[whole]]  # (n, p, c)
        if self.middle:
            chosen = whole[:, whole.shape[1] // 2]
        else:
            wrong = (rendered.values.detach().float() - batch.targets).abs().sum(dim=-1)
            chosen = whole.gather(1, wrong[seen[whole]].argmax(dim=1, keepdim=True)).squeeze(1)
        lengths = (rendered.samples.t_ends - rendered.samples.t_starts)[samples[chosen]]
        places = torch.cat([points[chosen], rays.viewdirs[seen[chosen]], lengths[:, None]], dim=1)
        # rounded up: matrix products of a new size take 50 ms to prepare, and each step has another number
        filled = torch.cat([places, places[:1].expand(-len(places) % ROUND, -1)])
        kernel = self.balancing.kernel(look_of(self.balancing.field), filled)[: len(places), : len(places)]
        out = cotangent.clone()
        out[seen[whole]] = self.balancing.adjustment(kernel).times(g.transpose(0, 1)).transpose(0, 1)
        return out

    def _groups(self, positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Rows of positions (m, d) in whole groups of neighbours (n, size), and the rows left over."""
        order = torch.argsort(z_order(self.aabb.to_unit(positions)))
        n = len(order) // size
        return order[: n * size].view(n, size), order[n * size :]


def heaviest_samples(rendered: Rendered, n_rays: int) -> Tensor:
    """The sample with the largest weight of each ray, (n,), the first of equals; -1 for rays that hit nothing."""
    assert rendered.samples is not None
    assert rendered.weights is not None
    weights = rendered.weights.detach()
    heaviest = argmax_by_ray(weights, rendered.samples.ray_indices, n_rays)
    if len(weights):
        heaviest.masked_fill_(~(weights[heaviest] > 1e-4), -1)  # also rays without a sample: -1 reads any weight
    return heaviest


def look_of(field: Any) -> Any:
    """Samples with viewing directions and lengths (m, 3 + 3 + 1) -> colour and opacity (m, 4), all in [0, 1], so that
    none dominates."""
    if not isinstance(field, RadianceField):
        raise PluginError("iga along rays needs a field with density and rgb")

    def look(places: Tensor) -> Tensor:
        x, viewdirs, lengths = places.split([3, 3, 1], dim=1)
        sigma, features = field.density(x)
        opacity = 1.0 - torch.exp(-sigma[:, None] * lengths)
        return torch.cat([colour(field, features, viewdirs), opacity], dim=-1)

    return look


def z_order(unit: Tensor) -> Tensor:
    """Positions of points (m, d) in [-1, 1] on a space-filling curve, (m,) int64: near on it is near in space."""
    d = unit.shape[1]
    bits = min(2 * DIGITS, 60 // d)
    cells = ((unit.double() + 1.0) * 0.5 * 2**bits).long().clamp_(0, 2**bits - 1)
    apart = digits_apart(d).to(unit.device)
    low, high = apart[cells & (2**DIGITS - 1)], apart[cells >> DIGITS]  # bits b of an axis at b d
    places = torch.arange(d, device=unit.device)
    return ((low | (high << (DIGITS * d))) << places).sum(dim=1)


@functools.cache
def digits_apart(d: int) -> Tensor:
    """The numbers of `DIGITS` bits with d - 1 zeros between their bits, (2^DIGITS,)."""
    numbers, out = torch.arange(2**DIGITS), torch.zeros(2**DIGITS, dtype=torch.int64)
    for bit in range(min(DIGITS, 60 // d)):
        out |= ((numbers >> bit) & 1) << (bit * d)
    return out
