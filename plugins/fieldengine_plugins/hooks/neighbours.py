"""Inductive gradient adjustment of points in space and of rays: groups are neighbours on a curve that fills space."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fieldengine.api import Batch, Domain, PluginError, RadianceField, Rays, Rendered, RunContext
from fieldengine.ops import argmax_by_ray
from fieldengine_plugins.hooks.balancing import Groups, changed
from fieldengine_plugins.hooks.patches import SIDE

if TYPE_CHECKING:
    from fieldengine_plugins.hooks.iga import Iga


SIDE_OF_RAYS, SIDE_OF_POINTS = 2, 8
ROUND = 8
DIGITS = 10  # bits that are spread at once


class SpaceGroups(Groups):
    """Groups of points that are formed anew in every step."""

    def __init__(self, options: Iga, field: nn.Module, domain: Domain, context: RunContext):
        super().__init__(options, field, context)
        if options.representative == "group_sum":
            raise ValueError("group_sum is for patches of a picture; take previous, residual or centre")
        pixels = domain.task == "image"  # of a picture that hides some
        self.aabb, self.side = domain.aabb, options.patch or (SIDE if pixels else SIDE_OF_POINTS)

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> Sequence[Tensor] | None:
        if self.options.balanced == 0:
            return None
        if isinstance(batch.items, Rays):  # what they meet is known once they are rendered
            return None
        whole, rest = self._groups(batch.items.positions, self.side**2)
        self.n_groups = len(whole)
        if self.options.balanced >= self.n_groups:
            raise PluginError(
                f"balanced {self.options.balanced} needs more groups than the {self.n_groups} of {self.side**2} that a "
                f"step's items make; lower balanced or patch, or raise training.batch_size"
            )
        self.tell_if_many(self.n_groups)
        kernel = self.kernel(self.field.values, batch.items.positions[whole[:, whole.shape[1] // 2]])
        self.vectors, self.change = self.balance(kernel)
        self.n_whole, self._done = whole.numel(), 0
        return [*whole.t().unbind(0), *([rest] if len(rest) else [])]

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered) -> Tensor:
        if self.options.balanced == 0:
            return cotangent
        if isinstance(batch.items, Rays):
            return self._adjust_rays(cotangent, batch, batch.items, rendered)
        assert self.vectors is not None
        assert self.change is not None
        count = max(0, min(len(cotangent), self.n_whole - self._done))
        self._done += len(cotangent)
        g = cotangent[:count].view(-1, self.n_groups, cotangent.shape[1])
        return torch.cat([changed(g, self.vectors, self.change).flatten(0, 1), cotangent[count:]])

    def _adjust_rays(self, cotangent: Tensor, batch: Batch, rays: Rays, rendered: Rendered) -> Tensor:
        if rendered.samples is None or rendered.weights is None:
            raise PluginError("iga needs a renderer that tells the weights of its samples along rays")
        heaviest = heaviest_samples(rendered, len(rays))
        seen = torch.nonzero(heaviest >= 0).squeeze(1)
        samples = heaviest[seen]
        points = rendered.samples.midpoints(rays)[samples].detach()
        size = (self.options.patch or SIDE_OF_RAYS) ** 2
        whole = self._groups(points, size)[0]
        if len(whole) <= self.options.balanced:  # as early on, when a step affords few rays
            self.context.tell(
                f"iga: tiles with too few rays for {self.options.balanced + 1} groups of {size} are left as they are. "
                f"Lower patch or balanced, or raise training.batch_size or the sampler's samples, if it goes on so"
            )
            return cotangent
        self.tell_if_many(len(whole))
        g = cotangent[seen[whole]]  # (n, p, c)
        if self.options.representative == "centre":
            chosen = whole[:, whole.shape[1] // 2]
        else:
            wrong = (rendered.values.detach().float() - batch.targets).abs().sum(dim=-1)
            chosen = whole.gather(1, wrong[seen[whole]].argmax(dim=1, keepdim=True)).squeeze(1)
        lengths = (rendered.samples.t_ends - rendered.samples.t_starts)[samples[chosen]]
        places = torch.cat([points[chosen], rays.viewdirs[seen[chosen]], lengths[:, None]], dim=1)
        # rounded up: matrix products of a size that is new take 50 ms to prepare, and each step has another number
        filled = torch.cat([places, places[:1].expand(-len(places) % ROUND, -1)])
        kernel = self.kernel(look_of(self.field), filled)[: len(places), : len(places)]
        balanced = self.balance(kernel)
        out = cotangent.clone()
        out[seen[whole]] = changed(g.transpose(0, 1), *balanced).transpose(0, 1)
        return out

    def _groups(self, positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Rows of positions (m, d) in whole groups of neighbours (n, size), and those left over."""
        order = torch.argsort(z_order(self.aabb.to_unit(positions)))
        n = len(order) // size
        return order[: n * size].view(n, size), order[n * size :]


def heaviest_samples(rendered: Rendered, n_rays: int) -> Tensor:
    """The sample with the largest weight of each ray, (n,), the first of equals; -1 for rays that see nothing."""
    assert rendered.samples is not None
    assert rendered.weights is not None
    weights = rendered.weights.detach()
    heaviest = argmax_by_ray(weights, rendered.samples.ray_indices, n_rays)
    if len(weights):
        heaviest.masked_fill_(~(weights[heaviest] > 1e-4), -1)  # of rays without a sample too, whose -1 reads any
    return heaviest


def look_of(field: Any) -> Any:
    """Of samples with their viewing directions and lengths (m, 3 + 3 + 1) colour and opacity (m, 4), all in [0, 1], so
    that none outweighs the others."""
    if not isinstance(field, RadianceField):
        raise PluginError("iga along rays needs a field with density and rgb")

    def look(places: Tensor) -> Tensor:
        x, viewdirs, lengths = places.split([3, 3, 1], dim=1)
        sigma, features = field.density(x)
        opacity = 1.0 - torch.exp(-sigma[:, None] * lengths)
        return torch.cat([field.rgb(features, viewdirs), opacity], dim=-1)

    return look


def z_order(unit: Tensor) -> Tensor:
    """Where points (m, d) of [-1, 1] lie on a curve that fills space, (m,) int64: near on it is near in space."""
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
