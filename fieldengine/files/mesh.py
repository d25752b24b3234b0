"""Mesh files: vertices and triangles, with a check of what the reader made of the file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.exchange.load import mesh_formats

from fieldengine.errors import DataError


@dataclass(frozen=True)
class MeshFile:
    """What a file holds.

    Attributes:
        vertices: (v, 3), in the file's units.
        faces: (f, 3), triangles.
        notes: what the user should know of how the file was read, a sentence each.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def read_mesh(path: Path) -> MeshFile:
    """The triangles of a file, equal vertices merged.

    Raises DataError for whatever is not a mesh.
    """
    if path.is_dir():
        raise DataError(path, "is a folder; name one mesh file")
    if not path.exists():
        raise DataError(path, "no such file. Set `dataset.path` to a mesh (.ply .obj .off .stl .glb)")
    if path.stat().st_size == 0:
        raise DataError(path, "is empty (0 bytes)")
    kind = path.suffix.lower().removeprefix(".")
    readable = sorted(mesh_formats())  # trimesh reads archives, too, which could hold anything
    if not kind:
        raise DataError(path, f"has no ending, which names the format of a mesh. Known: {', '.join(readable)}")
    if kind not in readable:
        raise DataError(path, f'".{kind}" is not a mesh format that can be read. Known: {", ".join(readable)}')
    try:
        with path.open("rb") as file:  # an open file has no folder, so a mesh cannot make us read other files
            loaded = trimesh.load(file, file_type=kind, force="mesh", process=False)
    except ImportError as reason:  # trimesh asks for a guesser of encodings where text is not text
        raise DataError(path, "cannot be read as a mesh: it holds bytes that are no text") from reason
    except Exception as reason:  # every reader behind trimesh fails in its own way; the user needs one sentence
        raise DataError(
            path, f"cannot be read as a mesh: {' '.join(str(reason).split())[:200] or type(reason).__name__}"
        ) from reason
    vertices = np.asarray(getattr(loaded, "vertices", np.zeros((0, 3))), dtype=np.float64)
    faces = np.asarray(getattr(loaded, "faces", np.zeros((0, 3))), dtype=np.int64)
    if not len(faces):
        raise DataError(path, "has no faces; a mesh of triangles is needed")
    promised = _promised_faces(path, kind)
    if len(faces) < promised:
        raise DataError(path, f"promises {promised} faces but holds {len(faces)}; the file is cut short")
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices).all(axis=1)).sum())
        raise DataError(path, f"has {bad} of {len(vertices)} vertices that are not finite (NaN or infinity)")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise DataError(
            path, f"has faces that name vertices beyond the {len(vertices)} there are; the file may be cut short"
        )
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    mesh.update_faces(mesh.nondegenerate_faces())
    mesh.remove_unreferenced_vertices()
    if not len(mesh.faces):
        raise DataError(path, "has only faces without area")
    if float(np.ptp(mesh.vertices, axis=0).max()) <= 0:
        raise DataError(path, "has no extent: all vertices are in one place")
    return MeshFile(np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64))


def _promised_faces(path: Path, kind: str) -> int:
    """How many faces the head of a file promises, 0 where its format does not say; readers pass over missing ones."""
    with path.open("rb") as file:
        head = file.read(4096).decode("ascii", errors="replace")
    if kind == "ply":
        found = re.search(r"^element face (\d+)\s*$", head, re.MULTILINE)
    elif kind == "off":
        found = re.match(r"(?:\s|#.*\n)*OFF(?:\s|#.*\n)+\d+\s+(\d+)", head)
    else:
        found = None
    return int(found[1]) if found else 0
