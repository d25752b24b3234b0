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
    """Triangles (f, 3) over vertices (v, 3), counter-clockwise seen from outside; they need not close."""

    def __init__(self, vertices: Floats, faces: Faces):
        self.vertices, self.faces = vertices, faces
        a, b, c = (vertices[faces[:, i]] for i in range(3))
        cross = np.cross(b - a, c - a)
        # marching cubes leaves slivers without area; they get no normal and are never sampled
        self._normals = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-300)

    def signed_distance(self, x: Floats) -> Floats:
        """(m, 3) -> (m,), inside < 0: where the generalised winding number exceeds 1/2 (Barill et al. 2018)."""
        # libigl's own signed_distance multiplies by 1 - 2w, which is the sign only where w is exactly 0 or 1
        squared = igl.point_mesh_squared_distance(x, self.vertices, self.faces)[0]
        return np.where(self._within(x), -1.0, 1.0) * np.sqrt(squared)

    def inside(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._within(_numpy(x))).to(x.device)

    def _within(self, x: Floats) -> NDArray[np.bool_]:
        return np.asarray(igl.fast_winding_number(self.vertices, self.faces, x)) > 0.5

    def closest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        squared, face, _ = igl.point_mesh_squared_distance(_numpy(x), self.vertices, self.faces)
        normals = self._normals[np.asarray(face).reshape(-1)]
        return torch.from_numpy(np.sqrt(squared)).float().to(x.device), torch.from_numpy(normals).float().to(x.device)

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        points, face = sample_surface(self.vertices, self.faces, n, seed)
        return torch.from_numpy(points).float(), torch.from_numpy(self._normals[face]).float()


def sample_surface(vertices: Floats, faces: Faces, n: int, seed: int) -> tuple[Floats, Faces]:
    """n points spread evenly over the area (n, 3), and the triangle of each (n,)."""
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    points, face = trimesh.sample.sample_surface(mesh, n, seed=seed)[:2]
    return np.asarray(points, dtype=np.float64), np.asarray(face, dtype=np.int64)


def _numpy(x: Tensor) -> Floats:
    return np.ascontiguousarray(x.detach().cpu().double().numpy())
