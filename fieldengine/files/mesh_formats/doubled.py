"""What is there twice: vertices in one place, and polygons that lie on each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fieldengine.files.mesh_formats.polygons import Indices, Polygons


def first_of_equals(rows: NDArray[Any]) -> Indices:
    """For each row of (n, k) the index of the first that is equal to it, (n,)."""
    order = np.lexsort(rows.T)
    ordered = rows[order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(rows), dtype=np.int64)
    first[order] = order[new][np.cumsum(new) - 1]  # the sort is stable, so the first of a run has the lowest index
    return first


def without_repeats(polygons: Polygons) -> Polygons:
    """Polygons without corners that are the same as the next one."""
    owner = np.repeat(np.arange(len(polygons.sizes)), polygons.sizes)
    kept = polygons.corners != polygons.corners[_next(polygons)]
    sizes = np.bincount(owner[kept], minlength=len(polygons.sizes))
    return replace(polygons, corners=polygons.corners[kept], sizes=sizes)


def without_doubles(polygons: Polygons) -> Polygons:
    """Each polygon at most once, whichever corner it begins with and whichever way it faces, and a note on the others.

    Of equal polygons the first stays. Two that face each other are a wall between two solids where the others that
    they hang together with close without them, and both go; otherwise they are one face written for both of its sides,
    and the first stays.
    """
    starts = np.cumsum(polygons.sizes) - polygons.sizes
    first = np.arange(len(polygons.sizes))
    forward = np.ones(len(first), dtype=bool)
    for size in np.unique(polygons.sizes[polygons.sizes >= 3]):
        mine = np.flatnonzero(polygons.sizes == size)
        corners = polygons.corners[starts[mine, None] + np.arange(size)]
        # from the lowest index on, towards the lower of its neighbours
        turned = np.take_along_axis(corners, (corners.argmin(axis=1)[:, None] + np.arange(size)) % size, axis=1)
        back = turned[:, 1] > turned[:, -1]
        turned[back, 1:] = turned[back, :0:-1]
        first[mine] = mine[first_of_equals(turned)]
        forward[mine] = ~back
    n = len(first)
    if len(np.unique(first)) == n:
        return polygons
    facing = (np.bincount(first, forward, n) > 0) & (np.bincount(first, ~forward, n) > 0)
    kept = first == np.arange(n)
    walls = facing & _closes_without(polygons, starts, kept & ~facing) if facing.any() else facing
    n_walls = int(walls[first].sum())
    what = "one of each was kept" if not n_walls else f"{n_walls} are walls within the solid and were left out"
    note = f"{n - int(kept.sum()) + int(walls.sum())} of {n} faces lie on others; {what}"
    kept &= ~walls
    corners = polygons.corners[np.repeat(kept, polygons.sizes)]
    return Polygons(polygons.vertices, corners, polygons.sizes[kept], (*polygons.notes, note))


def _closes_without(polygons: Polygons, starts: Indices, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the kept polygons that a polygon hangs together with close, (p,): each edge is walked both ways alike."""
    ends = polygons.corners[_next(polygons)]
    n = len(polygons.vertices)
    part = connected_components(coo_array((np.ones(len(ends)), (polygons.corners, ends)), (n, n)), directed=False)[1]
    edges = np.stack([polygons.corners, ends], axis=1)[np.repeat(kept, polygons.sizes)]
    edge = first_of_equals(np.sort(edges, axis=1))
    is_open = np.bincount(edge, np.sign(edges[:, 1] - edges[:, 0])) != 0
    closed = np.isin(part, part[edges[:, 0]]) & ~np.isin(part, part[edges[: len(is_open), 0][is_open]])
    found, some = np.zeros(len(kept), dtype=bool), polygons.sizes > 0
    found[some] = closed[polygons.corners[starts[some]]]
    return found


def _next(polygons: Polygons) -> Indices:
    """For each place in `corners` that of the next corner of the same polygon."""
    after, some = np.arange(1, len(polygons.corners) + 1), polygons.sizes > 0
    ends = np.cumsum(polygons.sizes)
    after[ends[some] - 1] = (ends - polygons.sizes)[some]
    return after
