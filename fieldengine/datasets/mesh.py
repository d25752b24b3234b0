"""A triangle mesh as a signed distance: points near its surface and in the box around it, each with its distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import igl
import numpy as np
import torch
import trimesh
from pydantic import Field
from torch import Generator, Tensor

from fieldengine.cameras.camera import Camera
from fieldengine.cameras.paths import look_at
from fieldengine.datasets.mesh_surface import Faces, Floats, MeshSurface
from fieldengine.errors import DataError
from fieldengine.files.mesh import read_mesh
from fieldengine.types import Aabb, Batch, Domain, Points, RunContext, View

SMALLEST, LARGEST = 1e-15, 1e15  # of the box; float32 holds their squares with room to spare
LITTLE = 1e-3  # share of points inside, below which a mesh is said to enclose nothing


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh, fitted as a signed distance.

    Reads .ply .obj .off .stl .glb .gltf .3mf (docs/files.md); distances are negative inside. Each item is a point with
    its distance: `near_surface` of them around the surface at two widths, the rest uniform in the box. The sign comes
    from generalised winding numbers (Jacobson et al. 2013; Barill et al. 2018), which forgive holes.

    Scene: `dataset: {type: mesh, path: bunny.ply}`
    """

    default_field: ClassVar[str] = "surface"
    default_renderer: ClassVar[str] = "direct"
    default_metrics: ClassVar[tuple[str, ...]] = ("iou", "chamfer", "normal_consistency")

    path: Path
    """the mesh file"""
    n_samples: Annotated[int, Field(ge=1000, le=50_000_000)] = 400_000
    """points with known distance; each is an item"""
    near_surface: Annotated[float, Field(ge=0, le=1)] = 0.8
    """share of the points that lie near the surface"""
    width: Annotated[float, Field(gt=0)] = 0.02
    """standard deviation around the surface of half of those, in edges of the box; the rest lie ten times closer"""
    padding: Annotated[float, Field(ge=0.01, le=2)] = 0.1
    """space around the mesh on each side, in longest edges of the mesh"""

    def build(self, *, context: RunContext) -> MeshDataset:
        file = read_mesh(self.path)
        faces, notes = orient(file.vertices, file.faces)
        return MeshDataset(self, file.vertices, faces, [*file.notes, *notes], context)


class MeshDataset:
    """Points with their distance in half edges of the box, the unit the field is trained in."""

    splits = ()

    def __init__(self, options: Mesh, vertices: Floats, faces: Faces, notes: list[str], context: RunContext):
        self.surface, self.files = MeshSurface(vertices, faces), (options.path,)
        lower, upper = vertices.min(0), vertices.max(0)
        centre, edge = 0.5 * (lower + upper), float((upper - lower).max()) * (1.0 + 2.0 * options.padding)
        notes = [*notes, *_room_of_float32(options.path, float(np.abs(vertices).max()), edge)]
        aabb = Aabb.of(centre - 0.5 * edge, centre + 0.5 * edge)
        x = self._points(options, centre, edge, context.seed)
        self.positions = torch.from_numpy(x).float().to(context.device)
        # distances of the float32 positions that the field will see, not of the float64 ones they came from
        distances = self.surface.signed_distance(self.positions.cpu().double().numpy())
        self._notes = [f"{options.path}: {note}" for note in (*notes, *_on_the_inside(distances))]
        self.targets = torch.from_numpy(distances / (0.5 * edge)).float()[:, None].to(context.device)
        self.n_items = len(x)
        self.domain = Domain(
            task="sdf",
            aabb=aabb.to(context.device),
            out_dim=1,
            grid=_portrait(centre, edge),
            centre=(float(centre[0]), float(centre[1]), float(centre[2])),
            radius=1.6 * edge,
            elevation=0.35,
            up=(0.0, 1.0, 0.0),
            background=(1.0, 1.0, 1.0),
        )

    def _points(self, options: Mesh, centre: Floats, edge: float, seed: int) -> Floats:
        n_near = round(options.n_samples * options.near_surface)
        random = np.random.default_rng(seed)
        near, _ = self.surface.scatter(n_near, seed)
        width = np.where(np.arange(n_near) % 2 == 0, options.width, 0.1 * options.width) * edge
        near = near + random.normal(size=near.shape) * width[:, None]
        uniform = centre + (random.random((options.n_samples - n_near, 3)) - 0.5) * edge
        return np.clip(np.concatenate([near, uniform]), centre - 0.5 * edge, centre + 0.5 * edge)

    def batch(self, indices: Tensor, generator: Generator) -> Batch:
        return Batch(Points(self.positions[indices]), self.targets[indices], None, indices)

    def views(self, split: str) -> Sequence[View]:
        return []

    def notes(self) -> Sequence[str]:
        return self._notes


def orient(vertices: Floats, faces: Faces) -> tuple[Faces, list[str]]:
    """Triangles turned so that winding numbers are positive inside, and notes on what was found.

    A closed, consistent mesh is at most turned inside out, and of several bodies those that point inward and are no
    cavity of another. Otherwise patches are made consistent across their edges and each one is turned so that the
    volume under it is positive: the best that can be said where the file does not say it.
    """
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    notes = []
    counts = np.unique(mesh.edges_unique_inverse, return_counts=True)[1]
    n_open, n_crowded = int((counts == 1).sum()), int((counts > 2).sum())
    if n_open or n_crowded:
        parts = [
            f"{n_open} boundary edges" if n_open else "",
            f"{n_crowded} edges with more than two faces" if n_crowded else "",
        ]
        found = " and ".join(part for part in parts if part)
        notes.append(f"the mesh is not closed ({found}); inside is where the generalised winding number exceeds 1/2")
    if mesh.is_winding_consistent:
        if _volumes(vertices, faces).sum() < 0:
            notes.append("the faces point inward; they were turned outward")
            faces = faces[:, ::-1]
        if not n_open and not n_crowded:
            faces, n_turned = _turn_bodies(vertices, faces, mesh)
            if n_turned:
                notes.append(f"closed parts that point inward but lie in no other were turned outward: {n_turned}")
        return np.ascontiguousarray(faces), notes
    faces, patch = (np.asarray(part) for part in igl.bfs_orient(faces))
    faces = faces.copy()
    patch = patch.reshape(-1)
    for number in range(int(patch.max()) + 1):
        mine = patch == number
        if _volumes(vertices, faces[mine]).sum() < 0:
            faces[mine] = faces[mine][:, ::-1]
    notes.append(
        f"the faces are wound inconsistently; {int(patch.max()) + 1} patches were each turned outward, which is a guess"
    )
    return np.ascontiguousarray(faces, dtype=np.int64), notes


def _turn_bodies(vertices: Floats, faces: Faces, mesh: trimesh.Trimesh) -> tuple[Faces, int]:
    """Closed bodies that point inward turned outward where no outward one surrounds them, and how many they are."""
    body = trimesh.graph.connected_component_labels(mesh.face_adjacency, node_count=len(faces))
    volumes = np.bincount(body, _volumes(vertices, faces))
    inward = np.flatnonzero(volumes < 0)
    if not len(inward):
        return faces, 0
    outward = MeshSurface(vertices, np.ascontiguousarray(faces[volumes[body] >= 0]))
    first = np.unique(body, return_index=True)[1]  # a face of each body
    surrounded = outward.inside(torch.from_numpy(vertices[faces[first[inward], 0]])).numpy()
    turned = np.isin(body, inward[~surrounded])
    return np.where(turned[:, None], faces[:, ::-1], faces), int((~surrounded).sum())


def _room_of_float32(path: Path, furthest: float, edge: float) -> list[str]:
    """A note where float32 positions show a mesh less well than it is. Raises DataError where they show none of it."""
    if not SMALLEST < edge < LARGEST:
        raise DataError(
            path, f"is {edge:.3g} long; float32 positions need {SMALLEST:g} to {LARGEST:g}. Scale the mesh to about 1"
        )
    if furthest <= 1e4 * edge:
        return []
    places = edge / float(np.spacing(np.float32(furthest)))
    if places < 64:
        raise DataError(
            path,
            f"is {edge:.3g} long but lies {furthest:.3g} from the origin, where float32 tells only {places:.0f} places "
            f"along it apart. Move the mesh to the origin",
        )
    return [
        f"the mesh is {edge:.3g} long but lies {furthest:.3g} from the origin; float32 positions lose detail there. "
        f"Move it to the origin for a better fit"
    ]


def _on_the_inside(distances: Floats) -> list[str]:
    """A note where so few points lie inside that a field learns of no solid."""
    n_inside = int((distances < 0).sum())
    if n_inside >= LITTLE * len(distances):
        return []
    found = f"only {n_inside}" if n_inside else "none"
    return [
        f"{found} of {len(distances)} points lie inside: the surface encloses little or no volume, so the field learns "
        f"distances but no solid. Close the mesh, or see whether the file is the right one"
    ]


def _volumes(vertices: Floats, faces: Faces) -> Floats:
    """Volume between each triangle and the centre of all, (f,), in cubes of the largest distance from that centre.

    The sum is positive where the triangles face outward.
    """
    corners = vertices[faces] - vertices[faces].reshape(-1, 3).mean(0)
    corners = corners / max(float(np.abs(corners).max()), 1e-300)
    return np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6.0


def _portrait(centre: Floats, edge: float, size: int = 400) -> Camera:
    eye = torch.tensor(centre + edge * np.array([0.55, 0.5, 1.4]), dtype=torch.float32)
    pose = look_at(eye, torch.tensor(centre, dtype=torch.float32), torch.tensor([0.0, 1.0, 0.0]))
    lens = Camera(pose=(), height=size, width=size, fx=1.35 * size, fy=1.35 * size, cx=0.5 * size, cy=0.5 * size)
    return lens.at(pose)
