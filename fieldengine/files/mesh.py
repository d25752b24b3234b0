"""Mesh files: which reader takes which, and what is checked, merged and left out whatever the format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldengine.errors import DataError
from fieldengine.files.mesh_formats.doubled import first_of_equals, without_doubles, without_repeats
from fieldengine.files.mesh_formats.gltf import read_gltf
from fieldengine.files.mesh_formats.obj import read_obj
from fieldengine.files.mesh_formats.off import read_off
from fieldengine.files.mesh_formats.ply import read_ply
from fieldengine.files.mesh_formats.polygons import Floats, Indices, Polygons, plural
from fieldengine.files.mesh_formats.stl import read_stl
from fieldengine.files.mesh_formats.three_mf import read_3mf
from fieldengine.files.mesh_formats.triangulate import triangulate

READERS: dict[str, Callable[[Path], Polygons]] = {
    ".3mf": read_3mf, ".glb": read_gltf, ".gltf": read_gltf, ".obj": read_obj, ".off": read_off, ".ply": read_ply,
    ".stl": read_stl,
}  # fmt: skip
NO_HEIGHT = 1e-12  # a triangle whose height is this part of its longest edge is a line, up to rounding


@dataclass(frozen=True)
class MeshFile:
    """What a file holds.

    Attributes:
        vertices: (v, 3), in the file's units.
        faces: (f, 3), triangles.
        notes: what the user should know of how the file was read, a sentence each.
    """

    vertices: Floats
    faces: Indices
    notes: tuple[str, ...] = ()


def read_mesh(path: Path) -> MeshFile:
    """The triangles of a file, equal vertices merged, each triangle once; docs/files.md has the table of formats.

    Raises DataError for whatever is not a mesh, or needs what is not read.
    """
    read = _reader_for(path)
    try:
        polygons = read(path)
    except OSError as reason:
        raise DataError(path, f"cannot be opened: {(reason.strerror or str(reason)).lower()}") from reason
    _check(path, polygons)
    vertices = polygons.vertices + 0.0  # -0 and 0 are one place
    # only exactly equal vertices are one: the size of a mesh and its distance from the origin do not matter
    merged = dataclasses.replace(polygons, corners=first_of_equals(vertices)[polygons.corners])
    once = without_doubles(without_repeats(merged))
    faces, split = triangulate(once)
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    line = _is_line(vertices[faces])
    if line.all():
        raise DataError(path, "has only faces without area")
    notes = [*once.notes, *split]
    if few := int((polygons.sizes < 3).sum()):
        notes.append(f"left out: {plural(few, 'face')} of fewer than three corners")
    if line.any():
        notes.append(f"left out: {plural(int(line.sum()), 'face')} without area")
    used, again = np.unique(faces[~line], return_inverse=True)
    return MeshFile(vertices[used], again.reshape(-1, 3).astype(np.int64), tuple(notes))


def _reader_for(path: Path) -> Callable[[Path], Polygons]:
    """The reader that a file's ending names."""
    if path.is_dir():
        raise DataError(path, "is a folder; name one mesh file")
    if not path.exists():
        raise DataError(path, "no such file. Set `dataset.path` to a mesh (.ply .obj .off .stl .glb .gltf .3mf)")
    if path.stat().st_size == 0:
        raise DataError(path, "is empty (0 bytes)")
    kind, known = path.suffix.lower(), " ".join(READERS)
    if not kind:
        raise DataError(path, f"has no ending, which names the format of a mesh. Known: {known}")
    if kind not in READERS:
        raise DataError(
            path, f'"{kind}" is not a mesh format that can be read. Known: {known}; convert it to .ply or .obj'
        )
    return READERS[kind]


def _check(path: Path, polygons: Polygons) -> None:
    """Raises DataError for a mesh without faces, for vertices that are not finite, and for indices of no vertex."""
    vertices, corners = polygons.vertices, polygons.corners
    if not len(polygons.sizes):
        also = f" ({'; '.join(polygons.notes)})" if polygons.notes else ""
        raise DataError(path, f"has no faces; a mesh of polygons is needed{also}")
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices).all(axis=1)).sum())
        raise DataError(path, f"has {bad} of {len(vertices)} vertices that are not finite (NaN or infinity)")
    if len(corners) and (corners.min() < 0 or corners.max() >= len(vertices)):
        raise DataError(
            path, f"has faces that name vertices beyond the {len(vertices)} there are; the file may be cut short"
        )


def _is_line(corners: Floats) -> NDArray[np.bool_]:
    """Whether triangles (f, 3, 3) have no height to speak of, (f,)."""
    edges = np.roll(corners, -1, axis=1) - corners
    edges = edges / np.maximum(np.abs(edges).max(axis=(1, 2), keepdims=True), 1e-300)
    doubled_area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    return doubled_area <= NO_HEIGHT * (edges**2).sum(axis=2).max(axis=1)
