"""The volume renderer: density and colour integrated along rays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from fieldengine.kinds.field import RadianceField, colour
from fieldengine.kinds.ray_sampler import RaySampler, RaySamplerOptions
from fieldengine.kinds.renderer import Renderer
from fieldengine.ops import composite, weights_from_density
from fieldengine.types import Aabb, Rays, Rendered, Samples

CHUNK = 1 << 15
ROUND = 1 << 11


@dataclass(frozen=True)
class Volume:
    """Emission and absorption along rays, for radiance fields."""

    sampler: RaySamplerOptions
    """where samples lie along a ray"""

    def build(self, *, aabb: Aabb) -> Renderer:
        return VolumeRenderer(self.sampler.build(aabb=aabb))


class VolumeRenderer(nn.Module):
    def __init__(self, sampler: RaySampler):
        super().__init__()
        self.sampler = sampler

    def check(self, field: nn.Module, items: type) -> None:
        if items is not Rays:
            raise ValueError(f"the volume renderer takes rays; this data set gives {items.__name__.lower()}")
        if not isinstance(field, RadianceField):
            raise ValueError(
                f"the volume renderer needs a field with density(x) and rgb(...); {type(field).__name__} lacks them"
            )

    def render(
        self, field: RadianceField, items: Rays, *, background: Tensor | None, generator: Generator | None
    ) -> Rendered:
        """Colour, opacity and depth of n rays; see `fieldengine.ops.composite`."""
        samples = self.sampler.sample(items, lambda x: field.density(x)[0], generator)
        positions, viewdirs = samples.midpoints(items), items.viewdirs[samples.ray_indices]
        seen_by = None if items.camera_indices is None else items.camera_indices[samples.ray_indices]
        if torch.is_grad_enabled() or generator is not None:
            positions, viewdirs = filled_up(positions), filled_up(viewdirs)
            sigma, features = field.density(positions)
            weights = weights_from_density(samples, sigma[: len(samples)])
            rgb = colour(field, features, viewdirs, _filled_up_like(seen_by, viewdirs))[: len(samples)]
        else:
            weights, rgb = _without_graph(field, samples, positions, viewdirs, seen_by)
        values, opacity, depth = composite(samples, weights, rgb, background)
        losses = self.sampler.losses(samples, weights) if torch.is_grad_enabled() else {}
        return Rendered(values, opacity, depth, samples, weights, losses)

    def max_batch(self, wanted: int) -> int:
        return self.sampler.max_batch(wanted)

    def update(self, field: RadianceField, step: int, generator: Generator) -> None:
        self.sampler.update(lambda x: field.density(x)[0], step, generator)


def filled_up(rows: Tensor) -> Tensor:
    """Rows (m, c) with zeros below them to a multiple of ROUND.

    Matrix products are compiled for each shape they meet; without this every step would bring a new one.
    """
    return torch.nn.functional.pad(rows, (0, 0, 0, -len(rows) % ROUND)) if len(rows) > ROUND else rows


def _filled_up_like(seen_by: Tensor | None, rows: Tensor) -> Tensor | None:
    """Numbers of images (m,) with zeros behind them, as many as there are rows."""
    return None if seen_by is None else torch.nn.functional.pad(seen_by, (0, len(rows) - len(seen_by)))


def _without_graph(
    field: RadianceField, samples: Samples, positions: Tensor, viewdirs: Tensor, seen_by: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Weights (m,) and colours (m, 3), a bounded number of samples at a time; colours that would weigh next to nothing
    stay black, which spares most of the work behind surfaces."""
    parts = [field.density(some) for some in positions.split(CHUNK)]
    sigma, features = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    weights = weights_from_density(samples, sigma)
    rgb = torch.zeros(len(samples), 3, device=weights.device)
    for seen in torch.nonzero(weights > 1e-4)[:, 0].split(CHUNK):
        rgb[seen] = colour(field, features[seen], viewdirs[seen], None if seen_by is None else seen_by[seen])
    return weights, rgb
