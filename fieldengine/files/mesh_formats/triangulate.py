"""Polygons become triangles that cover them and nothing else."""

from __future__ import annotations

import itertools

import mapbox_earcut
import numpy as np

from fieldengine.files.mesh_formats.polygons import Floats, Indices, Polygons, plural

FLAT = 1e-9  # a corner of less than this part of its polygon's area is straight


def triangulate(polygons: Polygons) -> tuple[Indices, tuple[str, ...]]:
    """The triangles (f, 3) of all polygons, in their order and orientation, and notes.

    A polygon is split in the plane of its Newell normal: strictly convex ones as a fan around their first corner, all
    others by ear clipping. Corners on a straight line stay in use, so neighbours still share whole edges. Polygons with
    fewer than three corners give none, and those that cross themselves are split as well as can be, with a note.
    """
    starts = np.cumsum(polygons.sizes) - polygons.sizes
    pieces, owners, crossing = [], [], 0
    for size in np.unique(polygons.sizes[polygons.sizes >= 3]):
        mine = np.flatnonzero(polygons.sizes == size)
        corners = polygons.corners[starts[mine, None] + np.arange(size)]
        faces, owner, crossed = _split(polygons.vertices, corners)
        pieces.append(faces)
        owners.append(mine[owner])
        crossing += crossed
    notes = []
    if crossing:
        notes.append(
            f"{plural(crossing, 'polygon crosses or touches itself', 'polygons cross or touch themselves')}, so the "
            f"triangles there are a guess"
        )
    if not pieces:
        return np.zeros((0, 3), dtype=np.int64), tuple(notes)
    order = np.argsort(np.concatenate(owners), kind="stable")
    return np.concatenate(pieces)[order], tuple(notes)


def _split(vertices: Floats, corners: Indices) -> tuple[Indices, Indices, int]:
    """Polygons (p, n) of one size as triangles (f, 3), the polygon of each (f,), and how many cross themselves."""
    count, size = corners.shape
    fan = np.stack([np.zeros(size - 2, dtype=int), np.arange(1, size - 1), np.arange(2, size)], axis=1)
    splits = np.broadcast_to(fan, (count, size - 2, 3)).copy()
    crossing = 0
    if size > 3:
        flat = _flattened(vertices[corners])
        turns = _doubled_areas(flat, np.roll(flat, -1, axis=1), np.roll(flat, -2, axis=1))
        # a star turns left at every corner, too; only the fan's own triangles tell it from a convex polygon
        fans = _doubled_areas(flat[:, :1], flat[:, 1:-1], flat[:, 2:])
        whole = fans.sum(axis=1, keepdims=True)
        convex = ((turns > FLAT * whole) & (whole > 0)).all(axis=1) & (fans > FLAT * whole).all(axis=1)
        for i in np.flatnonzero(~convex):
            splits[i], sound = _ears(flat[i])
            crossing += not sound
    faces = np.take_along_axis(corners[:, None, :], splits, axis=2).reshape(-1, 3)
    return faces, np.repeat(np.arange(count), size - 2), crossing


def _flattened(corners: Floats) -> Floats:
    """Polygons (p, n, 3) in the planes of their Newell normals, (p, n, 2): counter-clockwise, about 1 in size."""
    at = corners - corners[:, :1]
    at = at / np.maximum(np.abs(at).max(axis=(1, 2), keepdims=True), 1e-300)
    normal = np.cross(at, np.roll(at, -1, axis=1)).sum(axis=1)
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    # the axis that the normal leans to least gives the plane a first direction
    least = np.eye(3)[np.abs(normal).argmin(axis=1)]
    across = np.cross(least, normal)
    across = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
    up = np.cross(normal, across)
    return np.stack([np.einsum("pni,pi->pn", at, across), np.einsum("pni,pi->pn", at, up)], axis=-1)


def _doubled_areas(a: Floats, b: Floats, c: Floats) -> Floats:
    """Twice the signed area of triangles of points (..., 2)."""
    u, v = b - a, c - a
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _ears(flat: Floats) -> tuple[Indices, bool]:
    """A polygon (n, 2) as n - 2 triangles, and whether they cover exactly its area."""
    size = len(flat)
    found = mapbox_earcut.triangulate_float64(flat, np.array([size], dtype=np.uint32)).astype(np.int64).reshape(-1, 3)
    turned = _doubled_areas(*(flat[found[:, i]] for i in range(3))) < 0
    found[turned] = found[turned, ::-1]
    whole = float(_doubled_areas(flat[:1], flat[1:-1], flat[2:]).sum())
    covered = float(np.abs(_doubled_areas(*(flat[found[:, i]] for i in range(3)))).sum())
    if covered < 1e-12 or abs(covered - whole) > 1e-6 * covered:
        # the fan keeps the boundary, and with it the winding numbers of a closed mesh
        return np.stack([np.zeros(size - 2, dtype=int), np.arange(1, size - 1), np.arange(2, size)], axis=1), False
    triangles = _with_straight_corners([(int(a), int(b), int(c)) for a, b, c in found], size)
    nothing = [(0, 0, 0)] * (size - 2 - len(triangles))
    return np.array(triangles + nothing)[: size - 2], True


def _with_straight_corners(triangles: list[tuple[int, int, int]], size: int) -> list[tuple[int, int, int]]:
    """Triangles that use every corner: ear clipping drops those on a straight line, where a neighbour may have one."""
    used = sorted({corner for triangle in triangles for corner in triangle})
    for a, b in zip(used, used[1:] + used[:1], strict=True):
        between = [(a + step) % size for step in range(1, (b - a) % size)]
        if not between:
            continue
        for i, (p, q, r) in enumerate(triangles):
            tip = {(p, q): r, (q, r): p, (r, p): q}.get((a, b))
            if tip is not None:
                chain = [a, *between, b]
                triangles[i : i + 1] = [(u, v, tip) for u, v in itertools.pairwise(chain)]
                break
    return triangles
