"""A point cloud of a field's surface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import trimesh
from pydantic import Field
from trimesh.visual import ColorVisuals

from fieldengine.export.files import atomic, require_suffix
from fieldengine.export.mesh import extract, vertex_normals
from fieldengine.kinds.exporter import Trained


@dataclass(frozen=True)
class PointsExporter:
    """Points spread evenly over the surface (.ply .xyz).

    In the data's own coordinates and units, with outward normals, and colours where the field has them.
    """

    points: Annotated[int, Field(ge=1, le=100_000_000)] = 100_000
    """how many"""
    resolution: Annotated[int, Field(ge=2, le=4096)] = 256
    """cells along the longest edge of the box of the mesh they are drawn from"""
    level: float | None = None
    """as of the mesh exporter"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of the random choice"""

    def write(self, trained: Trained, out: Path) -> str:
        suffix = require_suffix(out, (".ply", ".xyz"), "a point cloud")
        mesh = extract(trained, self.resolution, self.level)
        positions, face = trimesh.sample.sample_surface(mesh, self.points, seed=self.seed)[:2]
        places = trimesh.triangles.points_to_barycentric(mesh.triangles[face], positions)
        normals = _between(vertex_normals(mesh), mesh, face, places)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        colours = None
        if isinstance(mesh.visual, ColorVisuals) and mesh.visual.kind == "vertex":
            colours = _between(mesh.visual.vertex_colors, mesh, face, places).round().astype(np.uint8)
        # trimesh's own point cloud has no normals, without which a cloud is of little use; a mesh without faces has
        no_faces = np.zeros((0, 3), dtype=np.int64)
        cloud = trimesh.Trimesh(positions, no_faces, vertex_normals=normals, vertex_colors=colours, process=False)
        with atomic(out) as temporary:
            if suffix == ".xyz":
                np.savetxt(temporary, np.concatenate([positions, normals], axis=1), fmt="%.7g")
            else:
                cloud.export(temporary, file_type="ply", vertex_normal=True)
        return f"{len(positions)} points with normals{'' if colours is None else ' and colours'}"


def _between(values: Any, mesh: trimesh.Trimesh, face: Any, places: Any) -> Any:
    """Values of vertices (v, c) at points (n, c), linear on each point's face."""
    return (values[mesh.faces[face]] * places[:, :, None]).sum(axis=1)
