"""An occupancy grid: it remembers where the field is empty, so that samples are spent where something is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from fieldengine.kinds.ray_sampler import Density, RaySampler
from fieldengine.ops import intersect_aabb, march
from fieldengine.ray_samplers.jitter import draw
from fieldengine.types import Aabb, Rays, Samples


@dataclass(frozen=True)
class Occupancy:
    """Equal steps along each ray, those in empty cells left out.

    The occupancy grid of instant-ngp with the update rule of nerfacc. Each cell keeps an upper estimate of sigma
    times step; every `every` steps it fades by `decay` and is raised to a new measurement at a random place inside. A
    cell is occupied above min(threshold, mean / 2): nerfacc's rule but for the half, which keeps every cell of a
    field that has learnt nothing yet, instead of a random half of them.
    """

    resolution: Annotated[int, Field(ge=2, le=512)] = 64
    """cells per axis"""
    steps: Annotated[int, Field(ge=8)] = 384
    """steps along the longest way through the box; sets their length"""
    near: Annotated[float, Field(ge=0)] = 0.0
    """nothing is looked at closer to the camera than this"""
    samples_per_step: Annotated[int, Field(ge=256)] = 65536
    """a training step takes fewer rays than `batch_size` while they would need more samples than this"""
    warmup: Annotated[int, Field(ge=0)] = 256
    """steps during which every update measures all cells; later a half, chosen at random and among the occupied"""
    every: Annotated[int, Field(ge=1)] = 16
    """steps between updates"""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """what is left of an estimate at each update"""
    threshold: Annotated[float, Field(gt=0)] = 0.01
    """opacity of one step below which a cell is empty"""

    def build(self, *, aabb: Aabb) -> RaySampler:
        if aabb.dim != 3:
            raise ValueError(f"an occupancy grid needs 3-D space; this data set has {aabb.dim} dimensions")
        return OccupancySampler(self, aabb)


class OccupancySampler(nn.Module):
    """State: `estimate` (R^3,), sigma times step of each cell; `per_ray`, samples a ray took lately; `taken` (2,), rays
    and samples since the last update.
    """

    estimate: Tensor

    def __init__(self, options: Occupancy, aabb: Aabb):
        super().__init__()
        self.options = options
        self.aabb = aabb
        self.step_size = aabb.diagonal / options.steps
        self.register_buffer("estimate", torch.full((options.resolution**3,), float("inf")))
        # counts stay on the CPU, where they are known: reading them waits for no device
        self.per_ray, self.taken = torch.tensor(float(options.steps) / 2), torch.zeros(2, dtype=torch.int64)
        self._occupied: tuple[tuple[int, int], Tensor] | None = None

    def get_extra_state(self) -> Tensor:
        return torch.cat([self.per_ray[None].double(), self.taken.double()])

    def set_extra_state(self, state: Tensor) -> None:
        self.per_ray, self.taken = state[0].cpu().float(), state[1:].cpu().long()

    @property
    def occupied(self) -> Tensor:
        """(R, R, R) bool, x first. Before the first update every cell is, and again where a field went all empty:

        without a sample no gradient would ever fill it again. Found out once for each change of the estimate.
        """
        version = self.estimate.data_ptr(), self.estimate._version
        if self._occupied is None or self._occupied[0] != version:
            self._occupied = version, self._find_occupied()
        return self._occupied[1]

    def _find_occupied(self) -> Tensor:
        known = self.estimate[self.estimate.isfinite()]
        limit = min(self.options.threshold, 0.5 * float(known.mean())) if len(known) else 0.0
        found = (self.estimate > limit).view(3 * (self.options.resolution,))
        return found if bool(found.any()) else torch.ones_like(found)

    def sample(self, rays: Rays, query: Density, generator: Generator | None) -> Samples:
        """Intervals in occupied cells; with a generator each ray's are shifted by a random part of a step.

        No gradient.
        """
        aabb = self.aabb.to(rays.origins.device)
        t_near, t_far = intersect_aabb(rays, aabb, self.options.near)
        jitter = None if generator is None else draw((len(rays),), generator, rays.origins.device)
        samples = march(rays, t_near, t_far, step=self.step_size, aabb=aabb, occupied=self.occupied, jitter=jitter)
        if generator is not None and torch.is_grad_enabled():
            self.taken += torch.tensor([len(rays), len(samples)])
        return samples

    def losses(self, samples: Samples, weights: Tensor) -> Mapping[str, Tensor]:
        return {}

    def max_batch(self, wanted: int) -> int:
        return max(1, min(wanted, int(self.options.samples_per_step / max(float(self.per_ray), 1e-3))))

    @torch.no_grad()
    def update(self, query: Density, step: int, generator: Generator) -> None:
        rays, samples = self.taken.tolist()
        if rays:
            self.per_ray.lerp_(torch.full_like(self.per_ray, samples / rays), 0.1)
            self.taken.zero_()
        if step % self.options.every:
            return
        cells = self._cells_to_measure(step, generator)
        measured = torch.cat([query(self._inside(part, generator)) for part in cells.split(1 << 16)]) * self.step_size
        old = self.estimate[cells]
        faded = torch.where(old.isfinite(), old * self.options.decay, torch.zeros_like(old))
        self.estimate[cells] = torch.maximum(faded, measured)

    def _cells_to_measure(self, step: int, generator: Generator) -> Tensor:
        n, device = len(self.estimate), self.estimate.device
        if step < self.options.warmup or not self.estimate.isfinite().all():
            return torch.arange(n, device=device)
        random = torch.randint(n, (n // 4,), generator=generator, device=generator.device).to(device)
        filled = torch.nonzero(self.occupied.view(-1))[:, 0]
        if len(filled) > n // 4:
            chosen = torch.randint(len(filled), (n // 4,), generator=generator, device=generator.device)
            filled = filled[chosen.to(device)]
        return torch.unique(torch.cat([random, filled]))  # a cell met twice must fade once

    def _inside(self, cells: Tensor, generator: Generator) -> Tensor:
        r = self.options.resolution
        corner = torch.stack(
            [torch.div(cells, r * r, rounding_mode="floor"), torch.div(cells, r, rounding_mode="floor") % r, cells % r],
            -1,
        )
        unit = (corner + draw((len(cells), 3), generator, cells.device)) / r
        aabb = self.aabb.to(cells.device)
        return aabb.lower + unit * aabb.size
