"""Looking at a signed distance: sphere tracing (Hart 1996) and a plain shading, for images of surfaces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fieldengine.types import Rays

Sdf = Callable[[Tensor], Tensor]


@torch.no_grad()
def sphere_trace(
    rays: Rays, sdf: Sdf, t_near: Tensor, t_far: Tensor, *, close: float, steps: int = 128, relax: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Where each ray first comes within `close` of the surface.

    Args:
        sdf: (m, 3) -> distance (m,), negative inside.
        t_near, t_far: (n,) the part of each ray to look at.
        relax: share of the distance that is stepped; below one for a distance that is only nearly one.

    Returns:
        t (n,) and hit (n,) bool. No gradient.
    """
    t = t_near.clone()
    hit = torch.zeros_like(t, dtype=torch.bool)
    active = torch.nonzero(t_far > t_near)[:, 0]
    for _ in range(steps):
        if not len(active):
            break
        distance = sdf(rays.origins[active] + t[active, None] * rays.viewdirs[active])
        arrived = distance < close
        hit[active[arrived]] = True
        t[active] += torch.where(arrived, torch.zeros_like(distance), relax * distance)
        active = active[~arrived & (t[active] < t_far[active])]
    return t, hit


def shade(rays: Rays, sdf: Sdf, t: Tensor, hit: Tensor, background: Tensor, *, up: Tensor, h: float) -> Tensor:
    """A clay image (n, 3): light from the camera and, softer, from above (`up`, unit); `h` is the step of normals."""
    x = rays.origins[hit] + t[hit, None] * rays.viewdirs[hit]
    normals = numerical_normals(sdf, x, h)
    toward = -rays.viewdirs[hit]
    facing = (normals * toward).sum(-1).clamp(min=0)
    above = 0.5 + 0.5 * (normals @ up)
    clay = torch.tensor([0.78, 0.76, 0.72], device=x.device)
    image = background.expand(len(rays), 3).clone()
    image[hit] = clay * (0.25 + 0.55 * facing + 0.20 * above)[:, None]
    return image


@torch.no_grad()
def numerical_normals(sdf: Sdf, x: Tensor, h: float) -> Tensor:
    """Unit gradients (m, 3) by central differences of step h."""
    steps = h * torch.eye(3, device=x.device)
    gradient = torch.stack([sdf(x + step) - sdf(x - step) for step in steps], dim=-1)
    return torch.nn.functional.normalize(gradient, dim=-1)
