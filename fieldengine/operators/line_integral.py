"""Sums along rays, as a tomograph measures them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fieldengine.kinds.operator import Operator
from fieldengine.ops import intersect_aabb
from fieldengine.types import Aabb, Domain, Items, Points, Rays


@dataclass(frozen=True)
class LineIntegral:
    """The integral of a signal along each ray through the box, in the data's own units of length.

    Midpoint rule with equal intervals (Kak and Slaney 1988, chapter 3, for parallel beams): the error falls with the
    square of their number where the signal is smooth. Items are rays, the field is a signal.

    Scene: `operator: {type: line_integral, n_samples: 128}`
    """

    n_samples: Annotated[int, Field(ge=1, le=65536)] = 128
    """places along a ray's way through the box"""

    def build(self, *, domain: Domain) -> Operator:
        if domain.aabb.dim not in (2, 3):
            raise ValueError(f"line_integral takes signals of 2 or 3 dimensions; this data has {domain.aabb.dim}")
        return LineIntegralOperator(self.n_samples, domain.aabb)


class LineIntegralOperator:
    n_places: int | None

    def __init__(self, n_samples: int, aabb: Aabb):
        self.n_places, self.n_samples, self.aabb = n_samples, n_samples, aabb

    def places(self, items: Items) -> Points:
        """(n, ...) rays -> n times n_samples points, those of one ray in a row. Rays that miss get their origins."""
        rays, t_near, length = self._way(items)
        middles = (torch.arange(self.n_samples, device=t_near.device) + 0.5) / self.n_samples
        t = t_near[:, None] + length[:, None] * middles
        x = rays.origins[:, None] + t[:, :, None] * rays.viewdirs[:, None]
        return Points(x.reshape(-1, x.shape[-1]))

    def measure(self, values: Tensor, items: Items) -> Tensor:
        """(n n_samples, c) -> (n, c)."""
        length = self._way(items)[2]
        return values.view(len(length), self.n_samples, -1).mean(dim=1) * length[:, None]

    def _way(self, items: Items) -> tuple[Rays, Tensor, Tensor]:
        """The rays, where each enters the box, and how far it goes through it."""
        if not isinstance(items, Rays):
            raise ValueError("line_integral takes rays; this data set gives points")
        t_near, t_far = intersect_aabb(items, self.aabb.to(items.origins.device), -torch.inf)
        return items, t_near.nan_to_num(0.0, 0.0, 0.0), (t_far - t_near).nan_to_num(0.0)
