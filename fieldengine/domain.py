"""A domain as plain JSON, so that a trained field can be used without the data it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fieldengine.cameras.grid import SignalGrid
from fieldengine.cameras.restore import restore as restore_grid
from fieldengine.plugins.registry import Registry
from fieldengine.types import Aabb, Domain


def nyquist_limit(domain: Domain) -> float | None:
    """The highest frequency that the data's pixels can tell from a lower one, in radians over a unit of [-1, 1].

    None where the data do not lie on a grid.
    """
    return domain.grid.nyquist_limit if isinstance(domain.grid, SignalGrid) else None


def describe(domain: Domain) -> dict[str, Any]:
    """All that `restore` needs."""
    return {
        "task": domain.task,
        "aabb": [domain.aabb.lower.tolist(), domain.aabb.upper.tolist()],
        "out_dim": domain.out_dim,
        "grid": None if domain.grid is None else domain.grid.describe(),
        "centre": list(domain.centre),
        "radius": domain.radius,
        "elevation": domain.elevation,
        "up": list(domain.up),
        "background": None if domain.background is None else list(domain.background),
        "n_cameras": domain.n_cameras,
    }


def restore(found: Mapping[str, Any], device: torch.device, registry: Registry) -> Domain:
    """The inverse of `describe`. Raises KeyError, TypeError or ValueError for what is not a domain."""
    a, b, c = (float(v) for v in found["centre"])
    x, y, z = (float(v) for v in found["up"])
    lower, upper = ([float(v) for v in corner] for corner in found["aabb"])
    if not 1 <= len(lower) == len(upper) <= 4:
        raise ValueError(f"a box with corners of {len(lower)} and {len(upper)} numbers")
    aabb, out_dim = Aabb.of(lower, upper), int(found["out_dim"])
    if not bool((aabb.lower < aabb.upper).all()) or not bool((aabb.upper - aabb.lower).isfinite().all()):
        raise ValueError(f"a box from {lower} to {upper} holds nothing")
    if out_dim < 1:
        raise ValueError(f"{out_dim} numbers per point")
    return Domain(
        task=str(found["task"]),
        aabb=aabb.to(device),
        out_dim=out_dim,
        grid=None if found["grid"] is None else restore_grid(found["grid"], registry),
        centre=(a, b, c),
        radius=float(found["radius"]),
        elevation=float(found["elevation"]),
        up=(x, y, z),
        background=None if found["background"] is None else tuple(float(v) for v in found["background"]),
        n_cameras=int(found.get("n_cameras", 0)),
    )
