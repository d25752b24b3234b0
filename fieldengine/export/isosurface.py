"""Surfaces of a field by marching cubes (Lorensen and Cline 1987), slab by slab in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mcubes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldengine.kinds.field import RadianceField, SurfaceField
from fieldengine.types import Aabb

SLAB = 1 << 22  # values of a slab, 32 MB
POINTS = 1 << 13  # positions asked of the field at once; larger tensors leave the cache


@dataclass(frozen=True)
class Triangles:
    """`vertices` (v, 3) float64 in own coordinates, `faces` (f, 3) int64, counter-clockwise seen from outside."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]


def solid(field: nn.Module, aabb: Aabb, level: float | None = None) -> tuple[Callable[[Tensor], Tensor], float]:
    """A function that is positive inside the field's solid, and the level that was used.

    A surface's level is a distance (0: the surface itself, above 0: grown outwards). A radiance field's level is a
    density; by default the one that stops 1 - 1/e of the light within 1/128 of the box's edge.

    Raises ValueError where the field has no inside.
    """
    if isinstance(field, SurfaceField):
        distance = 0.0 if level is None else level
        return lambda x: distance - field.sdf(x)[0], distance
    if isinstance(field, RadianceField):
        density = 128.0 / float(aabb.size.max()) if level is None else level
        return lambda x: field.density(x)[0] - density, density
    raise ValueError(f"{type(field).__name__} knows neither a density nor a signed distance, so it has no surface")


@torch.no_grad()
def isosurface(inside: Callable[[Tensor], Tensor], aabb: Aabb, resolution: int, most: int = SLAB) -> Triangles:
    """The surface where `inside` (m, 3) -> (m,) changes sign.

    The result is closed: outside the box counts as outside of the solid. Space is cut into slabs along x; a slab
    takes over the last layer of values of the one before, so that both find the same vertices on their seam.

    Args:
        resolution: cells along the longest edge of the box; cells are cubes.
        most: values held at once, but for the two layers that a slab needs at least.
    """
    lower, size = aabb.lower.cpu().double().numpy(), aabb.size.cpu().double().numpy()
    cell = float(size.max()) / resolution
    cells = np.maximum(1, np.ceil(size / cell - 1e-6)).astype(int)
    thickness = max(1, most // int((cells[1] + 3) * (cells[2] + 3)) - 1)
    pieces: list[tuple[Any, Any, Any]] = []
    last_of_slab_before = None
    for first in range(0, cells[0] + 1, thickness):
        layers = np.arange(first, min(first + thickness, cells[0] + 1))
        new = _layers(inside, layers, cells, lower, cell, aabb.lower.device)
        before = _outside(new[:1]) if last_of_slab_before is None else last_of_slab_before
        after = [_outside(new[-1:])] if layers[-1] == cells[0] else []
        values = np.concatenate([before, new, *after])
        last_of_slab_before = new[-1:]
        if values.max() < 0 or values.min() > 0:
            continue
        # only signs choose the triangles: every vertex comes as the exact middle of its edge, which tells edges apart
        middles, faces = mcubes.marching_cubes(np.where(values > 0, 1.0, -1.0), 0.0)
        vertices = _crossings(values, middles)
        shift = np.array([first - 1, -1, -1])
        pieces.append(((2 * (middles + shift)).astype(np.int64), vertices + shift, faces.astype(np.int64)))
    return _joined(pieces, lower, cell)


def _layers(
    inside: Callable[[Tensor], Tensor], x: Any, cells: Any, lower: Any, cell: float, device: torch.device
) -> NDArray[np.float64]:
    """Values (len(x), cells_y + 3, cells_z + 3): those of the lattice, and one place beyond the box on each side."""
    axes = (x, np.arange(cells[1] + 1), np.arange(cells[2] + 1))
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    positions = torch.from_numpy((lower + places.reshape(-1, 3) * cell).astype(np.float32)).to(device)
    found = torch.cat([inside(part) for part in positions.split(POINTS)]).cpu().double().numpy()
    found = np.nan_to_num(found, nan=-1.0).reshape(places.shape[:-1])
    values = _outside(np.pad(found, ((0, 0), (1, 1), (1, 1)), mode="edge"))
    values[:, 1:-1, 1:-1] = found
    return values


def _outside(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What lies beyond such values at the face of the box: so far below them that the surface closes at the face."""
    return -1e3 * np.abs(values)


def _crossings(values: NDArray[np.float64], middles: Any) -> Any:
    """Where the surface crosses each edge of the lattice, by linear interpolation.

    It stays a thousandth of a cell away from the lattice's own points: nearer, the vertices around such a point would
    become one when a file rounds them, and the mesh would no longer be closed.
    """
    low, high = np.floor(middles).astype(int), np.ceil(middles).astype(int)
    a, b = values[tuple(low.T)], values[tuple(high.T)]
    return low + (high - low) * np.clip(a / (a - b), 1e-3, 1 - 1e-3)[:, None]


def _joined(pieces: list[tuple[Any, Any, Any]], lower: Any, cell: float) -> Triangles:
    """Slabs as one mesh in own coordinates; vertices of two slabs are one where they lie on the same edge."""
    if not any(len(faces) for _, _, faces in pieces):
        return Triangles(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    offsets = np.cumsum([0, *(len(vertices) for _, vertices, _ in pieces)])
    faces = np.concatenate([faces + offset for (_, _, faces), offset in zip(pieces, offsets, strict=False)])
    edges = np.concatenate([edges for edges, _, _ in pieces])
    vertices = np.concatenate([vertices for _, vertices, _ in pieces])
    _, chosen, index = np.unique(edges, axis=0, return_index=True, return_inverse=True)
    return Triangles(lower + vertices[chosen] * cell, index.reshape(-1)[faces])
