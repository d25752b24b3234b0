"""What every reader of meshes returns: polygons of any size over shared vertices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldengine.errors import DataError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Polygons:
    """What a file says, before anything is split, merged or left out.

    Attributes:
        vertices: (v, 3), in the file's units.
        corners: (sum of sizes,), the index of a vertex for each corner, polygon after polygon.
        sizes: (p,), corners of each polygon.
        notes: what the user should know of how the file was read, a sentence each.
    """

    vertices: Floats
    corners: Indices
    sizes: Indices
    notes: tuple[str, ...] = ()

    @classmethod
    def of_triangles(cls, vertices: Floats, faces: Indices, notes: tuple[str, ...] = ()) -> Polygons:
        return cls(vertices, faces.reshape(-1), np.full(len(faces), 3), notes)


def unreadable(path: Path, reason: str) -> DataError:
    """The error for a file that is not what its ending says, or is damaged."""
    return DataError(path, f"cannot be read as a mesh: {reason}")


def plural(n: int, one: str, many: str = "") -> str:
    """`1 face`, `2 faces`."""
    return f"{n} {one if n == 1 else many or one + 's'}"
