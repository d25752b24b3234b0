"""A mesh file of a field's surface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from trimesh.visual import ColorVisuals

from fieldengine.errors import TrainingError
from fieldengine.export.files import atomic, require_suffix
from fieldengine.export.isosurface import POINTS, isosurface, solid
from fieldengine.kinds.exporter import Trained
from fieldengine.kinds.field import RadianceField, SurfaceField, colour

FORMATS = (".ply", ".obj", ".stl", ".glb")


@dataclass(frozen=True)
class MeshExporter:
    """The surface as triangles (.ply .obj .stl .glb).

    In the data's own coordinates and units, closed, normals outward, coloured where the field has colours.
    """

    resolution: Annotated[int, Field(ge=2, le=4096)] = 256
    """cells along the longest edge of the box"""
    level: float | None = None
    """distance (surface) or density (radiance); null is 0, or a density that is opaque within 1/128 of the box"""

    def write(self, trained: Trained, out: Path) -> str:
        suffix = require_suffix(out, FORMATS, "a mesh file")
        mesh = extract(trained, self.resolution, self.level)
        with atomic(out) as temporary:
            mesh.export(temporary, file_type=suffix.removeprefix("."))
        state = "watertight" if mesh.is_watertight else "not watertight"
        return f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces, {state}"


def extract(trained: Trained, resolution: int, level: float | None = None) -> trimesh.Trimesh:
    """The surface of a trained field as a mesh, coloured where the field has colours.

    Raises ValueError for a field without an inside, TrainingError where no value of the field, or each, is inside.
    """
    inside, used = solid(trained.field, trained.domain.aabb, level)
    extents: list[tuple[Tensor, Tensor]] = []  # the least and the largest of each part of the grid

    def watched(x: Tensor) -> Tensor:
        margin = inside(x)
        extents.append(margin.nan_to_num(nan=-1.0).aminmax())
        return margin

    triangles = isosurface(watched, trained.domain.aabb, resolution)
    lowest, highest = zip(*extents, strict=True)
    least, most = float(min(lowest)), float(max(highest))
    if not len(triangles.faces) or least > 0:  # all of the box inside is a box, and no surface of the field
        sign = -1.0 if isinstance(trained.field, SurfaceField) else 1.0
        low, high = sorted((used + sign * least, used + sign * most))
        raise TrainingError(
            f"no surface at level {used:g}: the field's values go from {low:.3g} to {high:.3g}. Set --level between "
            f"them, or train longer"
        )
    mesh = trimesh.Trimesh(triangles.vertices, triangles.faces, process=False)
    if isinstance(trained.field, RadianceField):
        colours = _colours(trained.field, mesh, trained.domain.aabb.lower.device)
        mesh.visual = ColorVisuals(mesh, vertex_colors=colours)
    return mesh


def vertex_normals(mesh: trimesh.Trimesh) -> NDArray[np.float64]:
    """Outward unit normals (v, 3), each the mean over a vertex's faces by area.

    By angle, as trimesh means them, the needles that marching cubes leaves would weigh as much as their neighbours.
    """
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    normals = np.zeros((len(mesh.vertices), 3))
    for corner in range(3):
        np.add.at(normals, mesh.faces[:, corner], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)


@torch.no_grad()
def _colours(field: RadianceField, mesh: trimesh.Trimesh, device: torch.device) -> NDArray[np.uint8]:
    """Colour of each vertex seen head-on, (v, 3)."""
    vertices = torch.from_numpy(np.asarray(mesh.vertices, dtype=np.float32)).to(device)
    towards = torch.from_numpy(-vertex_normals(mesh).astype(np.float32)).to(device)

    def head_on(x: Any, d: Any) -> Any:
        return colour(field, field.density(x)[1], torch.nn.functional.normalize(d, dim=-1))

    parts = [head_on(x, d) for x, d in zip(vertices.split(POINTS), towards.split(POINTS), strict=True)]
    return (torch.cat(parts).cpu().numpy() * 255).round().astype(np.uint8)
