"""Triangles that lie on each other, one of which is enough."""

from __future__ import annotations

import numpy as np

from fieldengine.files.polygons import Indices


def without_doubles(faces: Indices) -> tuple[Indices, tuple[str, ...]]:
    """Triangles (f, 3), each set of vertices at most once, and a note where some were left out.

    Of equal triangles the first stays. Two that face each other are a wall between two solids where the others close
    without them, and both go; otherwise they are one face written for both of its sides, and the first stays.
    """
    lowest = faces.argmin(axis=1)
    turned = np.take_along_axis(faces, (lowest[:, None] + np.arange(3)) % 3, axis=1)  # the lowest index first
    forward = np.where(turned[:, 1] < turned[:, 2], 1, -1)
    key = np.sort(turned, axis=1)
    _, first, group = np.unique(key, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(faces):
        return faces, ()
    group = group.reshape(-1)
    facing = (np.bincount(group, forward > 0) > 0) & (np.bincount(group, forward < 0) > 0)
    outer = faces[np.sort(first[~facing])]
    if facing.any() and len(outer) and _closes(outer):
        return outer, (f"{len(faces) - len(outer)} of {len(faces)} faces lie on others and bound nothing; left out",)
    kept = faces[np.sort(first)]
    return kept, (f"{len(faces) - len(kept)} of {len(faces)} faces lie on others; one of each was kept",)


def _closes(faces: Indices) -> bool:
    """Whether every edge is walked as often in one direction as in the other."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = edges[:, 0] < edges[:, 1]
    _, edge = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)
    return not np.bincount(edge.reshape(-1), np.where(forward, 1.0, -1.0)).any()
