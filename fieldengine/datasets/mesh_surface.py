"""The surface of a mesh: what is inside, how far away it is, and points on it."""

from __future__ import annotations

import igl
import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Faces = NDArray[np.int64]


class MeshSurface:
    """Triangles (f, 3) over vertices (v, 3), counter-clockwise seen from outside; they need not close.

    All is computed in float64 in the mesh's own unit box, so neither a size of 1e-7 or 1e7 nor a place far from the
    origin costs digits: libigl's squared distances would lose them.
    """

    def __init__(self, vertices: Floats, faces: Faces):
        self.vertices, self.faces = vertices, faces
        lower, upper = vertices.min(0), vertices.max(0)
        self._centre, self._edge = 0.5 * (lower + upper), float((upper - lower).max()) or 1.0
        self._unit = np.ascontiguousarray((vertices - self._centre) / self._edge)
        a, b, c = (self._unit[faces[:, i]] for i in range(3))
        cross = np.cross(b - a, c - a)
        # marching cubes leaves slivers without area; they get no normal and are never sampled
        self._normals = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-300)

    def signed_distance(self, x: Floats) -> Floats:
        """(m, 3) -> (m,), inside < 0: where the generalised winding number exceeds 1/2 (Barill et al. 2018)."""
        # libigl's own signed_distance multiplies by 1 - 2w, which is the sign only where w is exactly 0 or 1
        return np.where(self._within(x), -1.0, 1.0) * self._nearest(x)[0]

    def inside(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._within(_numpy(x))).to(x.device)

    def closest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        distances, face = self._nearest(_numpy(x))
        normals = self._normals[face]
        return torch.from_numpy(distances).float().to(x.device), torch.from_numpy(normals).float().to(x.device)

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        points, face = self.scatter(n, seed)
        return torch.from_numpy(points).float(), torch.from_numpy(self._normals[face]).float()

    def scatter(self, n: int, seed: int) -> tuple[Floats, Faces]:
        """n points spread evenly over the area (n, 3), and the triangle of each (n,)."""
        mesh = trimesh.Trimesh(self._unit, self.faces, process=False)
        points, face = trimesh.sample.sample_surface(mesh, n, seed=seed)[:2]
        return self._centre + self._edge * np.asarray(points, dtype=np.float64), np.asarray(face, dtype=np.int64)

    def _nearest(self, x: Floats) -> tuple[Floats, Faces]:
        """Distance to the nearest triangle (m,), and which one it is (m,)."""
        squared, face, _ = igl.point_mesh_squared_distance(self._in_box(x), self._unit, self.faces)
        return self._edge * np.sqrt(squared), np.asarray(face).reshape(-1)

    def _within(self, x: Floats) -> NDArray[np.bool_]:
        return np.asarray(igl.fast_winding_number(self._unit, self.faces, self._in_box(x))) > 0.5

    def _in_box(self, x: Floats) -> Floats:
        return np.ascontiguousarray((x - self._centre) / self._edge)


def _numpy(x: Tensor) -> Floats:
    return np.ascontiguousarray(x.detach().cpu().double().numpy())
