"""The same number of samples on every ray, one in each of equal parts of its way through the box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from fieldengine.kinds.ray_sampler import Density, RaySampler
from fieldengine.ops import intersect_aabb
from fieldengine.ray_samplers.jitter import draw
from fieldengine.types import Aabb, Rays, Samples


@dataclass(frozen=True)
class Stratified:
    """The same number of intervals on every ray.

    While training, their borders are shifted at random (Mildenhall et al. 2020, Eq. 2).
    """

    n_samples: Annotated[int, Field(ge=1)] = 64
    """intervals per ray"""
    near: Annotated[float, Field(ge=0)] = 0.0
    """nothing is looked at closer to the camera than this"""

    def build(self, *, aabb: Aabb) -> RaySampler:
        return StratifiedSampler(self, aabb)


class StratifiedSampler(nn.Module):
    def __init__(self, options: Stratified, aabb: Aabb):
        super().__init__()
        self.n_samples, self.near, self.aabb = options.n_samples, options.near, aabb

    def sample(self, rays: Rays, query: Density, generator: Generator | None) -> Samples:
        """Intervals that cover each ray's way through the box without gaps; rays that miss have none. No gradient."""
        t_near, t_far = intersect_aabb(rays, self.aabb.to(rays.origins.device), self.near)
        hit = torch.nonzero(t_far > t_near)[:, 0]
        borders = torch.arange(self.n_samples + 1, device=hit.device).expand(len(hit), -1).float()
        if generator is not None:
            # the inner borders move within half an interval to either side, so the intervals still cover the ray
            shift = draw((len(hit), self.n_samples - 1), generator, hit.device) - 0.5
            borders = torch.cat([borders[:, :1], borders[:, 1:-1] + shift, borders[:, -1:]], dim=1)
        t = t_near[hit, None] + (t_far - t_near)[hit, None] * (borders / self.n_samples)
        return Samples(t[:, :-1].reshape(-1), t[:, 1:].reshape(-1), hit.repeat_interleave(self.n_samples), len(rays))

    def losses(self, samples: Samples, weights: Tensor) -> Mapping[str, Tensor]:
        return {}

    def max_batch(self, wanted: int) -> int:
        return wanted

    def update(self, query: Density, step: int, generator: Generator) -> None:
        return
