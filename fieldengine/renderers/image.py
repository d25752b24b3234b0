"""A whole image of a trained field, in tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fieldengine.kinds.field import SurfaceField
from fieldengine.ops import intersect_aabb
from fieldengine.renderers.sphere_tracing import shade, sphere_trace
from fieldengine.types import Domain, PixelGrid, Rays, Rendered

TILE = 1 << 13


@dataclass(frozen=True)
class RenderedImage:
    """`values` (*shape, c), (h, w, c) of an image; `opacity` and `depth` (h, w) where rays were integrated, else None.

    On the CPU.
    """

    values: Tensor
    opacity: Tensor | None = None
    depth: Tensor | None = None


@torch.no_grad()
def render_image(
    field: nn.Module,
    renderer: Any,
    domain: Domain,
    grid: PixelGrid,
    *,
    background: Tensor | None = None,
    tile: int = TILE,
) -> RenderedImage:
    """What the field looks like through a grid.

    A surface that its renderer cannot show from a camera is shown as clay.

    Args:
        background: (c,) colour behind the rays; None takes the domain's.
        tile: pixels at a time, which bounds memory.
    """
    device = domain.aabb.lower.device
    if background is None and domain.background is not None:
        background = torch.tensor(domain.background)
    background = None if background is None else background.to(device)
    n = math.prod(grid.shape)
    parts: list[Rendered] = []
    for first in range(0, n, tile):
        items = grid.items(torch.arange(first, min(first + tile, n), device=device))
        if isinstance(items, Rays) and isinstance(field, SurfaceField) and not _accepts(renderer, field, Rays):
            parts.append(Rendered(_clay(field, items, domain, background)))
            continue
        behind = background.expand(len(items), -1) if background is not None and isinstance(items, Rays) else None
        parts.append(renderer.render(field, items, background=behind, generator=None))

    def joined(name: str) -> Tensor | None:
        pieces = [getattr(part, name) for part in parts]
        if any(piece is None for piece in pieces):
            return None
        whole = torch.cat(pieces).cpu()
        return whole.view(*grid.shape, *whole.shape[1:])

    values = joined("values")
    assert values is not None
    return RenderedImage(values, joined("opacity"), joined("depth"))


def _clay(field: SurfaceField, rays: Rays, domain: Domain, background: Tensor | None) -> Tensor:
    edge = float(domain.aabb.size.max())
    t_near, t_far = intersect_aabb(rays, domain.aabb)

    def sdf(x: Tensor) -> Tensor:
        return field.sdf(x)[0]

    # a fitted distance may be a little steeper than one: smaller steps keep thin parts from being jumped over
    t, hit = sphere_trace(rays, sdf, t_near, t_far, close=5e-4 * edge, relax=0.8)
    white = torch.ones(3, device=rays.origins.device) if background is None else background
    up = torch.tensor(domain.up, device=rays.origins.device)
    return shade(rays, sdf, t, hit, white, up=up, h=2e-3 * edge)


def _accepts(renderer: Any, field: nn.Module, items: type) -> bool:
    try:
        renderer.check(field, items)
    except ValueError:
        return False
    return True
