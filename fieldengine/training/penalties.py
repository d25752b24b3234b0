"""Penalties of hooks, and the points that they ask for."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.kinds.hook import Lattice, NearSamples
from fieldengine.training.fit import Fit
from fieldengine.training.guards import checked_penalty, hook_call
from fieldengine.types import Aabb


class VisitedPlaces:
    """Some of the places at which a step visited at the field, each as likely as any other of its tile."""

    def __init__(self, fit: Fit):
        wanted = [
            regularizer.points.n for regularizer in fit.regularizers if isinstance(regularizer.points, NearSamples)
        ]
        self._most, self._generator = max(wanted, default=0), fit.context.device_generator
        self._places: list[Tensor] = []

    def add(self, places: Tensor, share: float) -> None:
        """Places (m, d) of a tile that holds this share of the step's items."""
        count = min(len(places), int(self._most * share) + 1) if self._most else 0
        if count:
            self._places.append(places[self._drawn(len(places), count).to(places.device)])

    def near(self, wanted: NearSamples, aabb: Aabb) -> Tensor:
        """(n, d): drawn from the places, or from all of the box where there are none, and moved by the spread."""
        found = torch.cat(self._places) if self._places else aabb.from_unit(2 * self._uniform(wanted.n, aabb) - 1)
        chosen = self._drawn(len(found), wanted.n).to(found.device)
        moved = torch.randn(wanted.n, aabb.dim, generator=self._generator, device=self._generator.device).to(found)
        return found[chosen] + 2.0 * wanted.spread * aabb.half_edge * moved

    def _drawn(self, n: int, count: int) -> Tensor:
        return torch.randint(n, (count,), generator=self._generator, device=self._generator.device)

    def _uniform(self, n: int, aabb: Aabb) -> Tensor:
        return torch.rand(n, aabb.dim, generator=self._generator, device=self._generator.device).to(aabb.lower)


def penalize(fit: Fit, step: int, visited: VisitedPlaces) -> Tensor:
    """Back-propagate every penalty; returns their sum, ()."""
    aabb = fit.dataset.domain.aabb
    total = torch.zeros((), device=aabb.lower.device)
    for regularizer in fit.regularizers:
        wanted = regularizer.points
        points = fit.lattice(wanted.per_axis) if isinstance(wanted, Lattice) else visited.near(wanted, aabb)
        with hook_call(fit, regularizer, "penalty"):
            penalty = checked_penalty(regularizer.penalty(step, fit.field, points))
            penalty.backward()
        total = total + penalty.detach()
    return total
