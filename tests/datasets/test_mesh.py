"""A mesh becomes points with their true signed distance, whichever way its faces turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from fieldengine.datasets.mesh import Mesh, MeshDataset, orient
from fieldengine.datasets.mesh_surface import MeshSurface
from fieldengine.errors import DataError
from fieldengine.files.mesh import read_mesh
from fieldengine.types import RunContext

CENTRE, RADIUS = torch.tensor([10.0, 0.0, -5.0]), 2.0
Build = Callable[..., MeshDataset]


@pytest.fixture
def build(context: RunContext) -> Build:
    return lambda path, **options: Mesh(path, **{"n_samples": 2000, **options}).build(context=context)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """A mesh of these vertices and faces as a file, nothing changed on the way."""

    def write(vertices: np.ndarray, faces: np.ndarray, name: str = "mesh.ply") -> Path:
        trimesh.Trimesh(vertices, faces, process=False).export(tmp_path / name)
        return tmp_path / name

    return write


def sphere(subdivisions: int = 3) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=RADIUS)
    return np.asarray(mesh.vertices) + CENTRE.double().numpy(), np.asarray(mesh.faces)


def write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Vertices with all their digits."""
    lines = ["v {!r} {!r} {!r}".format(*map(float, vertex)) for vertex in vertices]
    path.write_text("\n".join(lines + ["f {} {} {}".format(*face) for face in faces + 1]) + "\n")


def to_sphere(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x - CENTRE, dim=1) - RADIUS


def distances(dataset: MeshDataset) -> Tensor:
    """The targets in the mesh's own units."""
    return dataset.targets[:, 0] * 0.5 * float(dataset.domain.aabb.size.max())


def boundary(faces: np.ndarray) -> tuple[int, int]:
    """How many edges have one face, and how many more than two."""
    counts = Counter(tuple(sorted((int(face[i]), int(face[(i + 1) % 3])))) for face in faces for i in range(3)).values()
    return sum(n == 1 for n in counts), sum(n > 2 for n in counts)


# ------------------------------------------------------------------------------------------------------ closed meshes


def nearest(x: Tensor, vertices: np.ndarray, faces: np.ndarray) -> Tensor:
    """Distance of each point to the nearest of all triangles, tried one by one."""
    corners = vertices[faces]
    points = x.double().numpy()
    each = [
        np.linalg.norm(trimesh.triangles.closest_point(corners, np.repeat(p[None], len(faces), 0)) - p, axis=1).min()
        for p in points
    ]
    return torch.tensor(each, dtype=torch.float32)


def test_the_targets_are_the_signed_distance_to_the_sphere_in_half_edges_of_the_box(save, build: Build):
    vertices, faces = sphere(5)
    dataset = build(save(vertices, faces), n_samples=8000)
    assert dataset.notes() == []
    wanted = to_sphere(dataset.positions)
    # between its vertices an icosphere lies a little inside the sphere, most so in the middle of a face
    sag = RADIUS - np.linalg.norm(vertices[faces].mean(1) - CENTRE.numpy(), axis=1).min() + 1e-5
    assert sag < 6e-4
    torch.testing.assert_close(distances(dataset), wanted, atol=sag, rtol=0)
    clear = wanted.abs() > sag
    assert clear.float().mean() > 0.9
    assert torch.equal(dataset.targets[clear, 0] < 0, wanted[clear] < 0)
    assert (wanted < -0.1).any()
    assert (wanted > 0.1).any()


@pytest.mark.parametrize("padding", [0.01, 0.1, 1.0])
def test_the_box_is_a_cube_around_the_mesh_with_the_padding_asked_for(padding: float, ball: Path, build: Build):
    aabb = build(ball, padding=padding).domain.aabb
    edge = 2 * RADIUS * (1 + 2 * padding)
    torch.testing.assert_close(aabb.centre, CENTRE, atol=1e-4, rtol=0)
    torch.testing.assert_close(aabb.size, torch.full((3,), edge), atol=1e-3, rtol=0)


def test_the_box_of_a_long_mesh_takes_its_longest_edge(save, build: Build):
    vertices, faces = sphere()
    size = build(save(vertices * [3.0, 1.0, 1.0], faces), padding=0.25).domain.aabb.size
    torch.testing.assert_close(size, torch.full((3,), 6 * RADIUS * 1.5), atol=1e-2, rtol=0)


def test_the_share_near_the_surface_is_as_asked_and_the_rest_fills_the_box(ball: Path, build: Build):
    dataset = build(ball, n_samples=10000, near_surface=0.6, width=0.01)
    edge = float(dataset.domain.aabb.size.max())
    off = distances(dataset).abs() / edge
    near, far = off[:6000], off[6000:]
    assert float(near[0::2].square().mean().sqrt()) == pytest.approx(0.01, rel=0.1)
    assert float(near[1::2].square().mean().sqrt()) == pytest.approx(0.001, rel=0.1), "half lie ten times closer"
    assert far.max() > 0.25
    unit = dataset.domain.aabb.to_unit(dataset.positions)
    assert unit.abs().max() <= 1.0 + 1e-5
    octants = Counter(map(tuple, (unit[6000:] > 0).int().tolist()))
    assert len(octants) == 8
    assert min(octants.values()) > 4000 / 8 * 0.8


def test_all_points_may_lie_near_the_surface_or_none(ball: Path, build: Build):
    assert distances(build(ball, near_surface=1.0)).abs().max() < 0.5
    assert build(ball, near_surface=0.0).n_items == 2000


def test_the_same_seed_draws_the_same_points_and_another_one_others(ball: Path):
    def positions(seed: int) -> Tensor:
        made = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), seed)
        return Mesh(ball, n_samples=1000).build(context=made).positions

    assert torch.equal(positions(0), positions(0))
    assert not torch.equal(positions(0), positions(1))


def test_a_batch_holds_the_points_it_was_asked_for(ball: Path, build: Build):
    dataset = build(ball)
    indices = torch.tensor([5, 0, 1999, 5])
    batch = dataset.batch(indices, torch.Generator())
    assert torch.equal(batch.items.positions, dataset.positions[indices])
    assert torch.equal(batch.targets, dataset.targets[indices])


@pytest.mark.parametrize("name", ["a.ply", "a.obj", "a.off", "a.stl", "a.glb"])
def test_every_format_gives_the_same_solid(name: str, save, build: Build):
    vertices, faces = sphere(2)
    dataset = build(save(vertices, faces, name))
    assert dataset.notes() == [], "equal vertices are merged, so the mesh is closed"
    assert len(dataset.surface.faces) == len(faces)
    torch.testing.assert_close(distances(dataset), to_sphere(dataset.positions), atol=0.05 * RADIUS, rtol=0)


def test_the_portrait_camera_sees_the_middle_of_the_mesh(ball: Path, build: Build):
    grid = build(ball).domain.grid
    middle = grid.items(torch.tensor([200 * 400 + 200]))
    to_centre = torch.nn.functional.normalize(CENTRE - middle.origins[0], dim=0)
    assert float(to_centre @ middle.viewdirs[0]) > 0.9999


@pytest.mark.parametrize("scale", [1.5e-7, 1e-12, 1e6, 1e12])
def test_a_mesh_of_any_size_gives_the_same_points_and_targets(scale: float, tmp_path: Path, build: Build):
    vertices, faces = sphere(3)
    vertices = vertices - CENTRE.double().numpy()
    write_obj(tmp_path / "unit.obj", vertices, faces)
    write_obj(tmp_path / "scaled.obj", vertices * scale, faces)
    unit, dataset = build(tmp_path / "unit.obj"), build(tmp_path / "scaled.obj")
    assert dataset.notes() == []
    assert len(dataset.surface.faces) == len(faces)
    torch.testing.assert_close(dataset.positions / scale, unit.positions, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(dataset.targets, unit.targets, atol=1e-6, rtol=1e-4)
    (points, facing), (unit_points, unit_facing) = dataset.surface.sample(500, 0), unit.surface.sample(500, 0)
    torch.testing.assert_close(points / scale, unit_points, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(facing, unit_facing, atol=1e-5, rtol=1e-4)
    near, normals = dataset.surface.closest(dataset.positions[:500])
    torch.testing.assert_close(near / scale, unit.surface.closest(unit.positions[:500])[0], atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(500))


def test_distances_do_not_suffer_from_a_place_far_off():
    vertices, faces = sphere(3)
    x = np.random.default_rng(0).uniform(-3, 3, (500, 3)) + CENTRE.double().numpy()
    here = MeshSurface(vertices, faces).signed_distance(x)
    far = np.array([3e6, -2e6, 1e6])
    np.testing.assert_allclose(MeshSurface(vertices + far, faces).signed_distance(x + far), here, atol=1e-8)


@pytest.mark.parametrize(("scale", "shift", "said"), [
    (1e-20, 0.0, "is 4.8e-20 long; float32 positions need 1e-15 to 1e+15"),
    (1e20, 0.0, "is 4.8e+20 long; float32 positions need 1e-15 to 1e+15"),
    (1.0, 1e8, "is 4.8 long but lies 1e+08 from the origin, where float32 tells only 1 places along it apart"),
])  # fmt: skip
def test_a_mesh_that_float32_positions_cannot_show_is_refused(scale, shift, said, tmp_path: Path, build: Build):
    vertices, faces = sphere(1)
    write_obj(tmp_path / "a.obj", (vertices - CENTRE.double().numpy()) * scale + shift, faces)
    with pytest.raises(DataError) as caught:
        build(tmp_path / "a.obj")
    assert said in str(caught.value)


# -------------------------------------------------------------------------------------------------------- faulty ones


def test_a_mesh_that_is_inside_out_is_turned_outward_and_said_so(save, build: Build):
    vertices, faces = sphere()
    dataset = build(save(vertices, faces[:, ::-1]))
    assert len(dataset.notes()) == 1
    assert dataset.notes()[0].endswith("mesh.ply: the faces point inward; they were turned outward")
    wanted = to_sphere(dataset.positions)
    clear = wanted.abs() > 0.01 * RADIUS
    assert torch.equal(dataset.targets[clear, 0] < 0, wanted[clear] < 0)
    points, normals = dataset.surface.sample(200, 0)
    outward = torch.nn.functional.normalize(points - CENTRE, dim=1)
    assert ((normals * outward).sum(1) > 0.9).all()


def test_of_several_bodies_those_that_point_inward_are_turned_and_cavities_are_not(save, build: Build):
    vertices, faces = sphere(2)
    small, n = CENTRE.numpy() + 0.5 * (vertices - CENTRE.numpy()), len(vertices)
    at = np.vstack([vertices, small, small + [10.0, 0.0, 0.0]])  # a ball, a cavity in it, and another ball
    whole = np.vstack([faces, faces[:, ::-1] + n, faces[:, ::-1] + 2 * n])
    for found in (whole, whole[:, ::-1]):  # all of it inside out is the same solid
        dataset = build(save(at, found))
        assert dataset.notes()[-1].endswith("closed parts that point inward but lie in no other were turned outward: 1")
        centres = torch.tensor([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [10.0, 0.0, 0.0], [5.0, 0.0, 0.0]]) + CENTRE
        assert dataset.surface.inside(centres).tolist() == [False, True, True, False]


def test_an_open_mesh_is_fitted_with_a_warning_that_counts_its_edges(save, build: Build):
    vertices, faces = sphere()
    faces = np.delete(faces, [10, 11, 200], axis=0)
    dataset = build(save(vertices, faces))
    n_open, n_crowded = boundary(faces)
    assert (n_open > 0, n_crowded) == (True, 0)
    assert len(dataset.notes()) == 1
    assert f"the mesh is not closed ({n_open} boundary edges); inside is where" in dataset.notes()[0]
    wanted = to_sphere(dataset.positions)
    clear = wanted.abs() > 0.1 * RADIUS
    assert torch.equal(dataset.targets[clear, 0] < 0, wanted[clear] < 0)


def test_a_distance_is_that_to_the_nearest_face_however_open_the_mesh_is(save, build: Build):
    vertices, faces = sphere(2)
    bowl = faces[vertices[faces].mean(1)[:, 1] < 0.2]
    dataset = build(save(vertices, bowl), n_samples=1000, near_surface=0.5)
    torch.testing.assert_close(
        distances(dataset).abs(), nearest(dataset.positions, vertices, bowl), atol=1e-4, rtol=1e-4
    )


def test_edges_with_more_than_two_faces_are_counted_in_the_warning(save, build: Build):
    vertices, faces = sphere()
    fin = np.vstack([vertices, CENTRE.numpy() + [0, 0, 5.0]])
    faces = np.vstack([faces, [faces[0, 0], faces[0, 1], len(vertices)]])
    n_open, n_crowded = boundary(faces)
    assert (n_open, n_crowded) == (2, 1)
    notes = " ".join(build(save(fin, faces)).notes())
    assert "2 boundary edges and 1 edges with more than two faces" in notes


def test_faces_wound_inconsistently_are_made_consistent_with_a_warning(save, build: Build):
    vertices, faces = sphere()
    faces = faces.copy()
    faces[::7] = faces[::7, ::-1]
    dataset = build(save(vertices, faces))
    assert len(dataset.notes()) == 1
    assert "the faces are wound inconsistently; 1 patches were each turned outward" in dataset.notes()[0]
    wanted = to_sphere(dataset.positions)
    clear = wanted.abs() > 0.05 * RADIUS
    assert torch.equal(dataset.targets[clear, 0] < 0, wanted[clear] < 0)


def test_patches_are_turned_outward_one_by_one():
    vertices, faces = sphere(2)
    away = np.vstack([vertices, vertices + [10.0, 0.0, 0.0]])
    both = np.vstack([faces, faces[:, ::-1] + len(vertices)])
    both[3] = both[3, ::-1]  # one face against its own patch, so that no winding can be believed
    turned, notes = orient(away, both)
    assert "2 patches" in notes[-1]
    for part, centre in ((turned[: len(faces)], CENTRE), (turned[len(faces) :], CENTRE + torch.tensor([10.0, 0, 0]))):
        corners = away[part]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert (np.einsum("ij,ij->i", normals, corners.mean(1) - centre.numpy()) > 0).all()


def test_degenerate_faces_and_unused_vertices_are_left_out(save, build: Build):
    vertices, faces = sphere()
    more = np.vstack([vertices, [[1000.0, 0.0, 0.0]]])
    dataset = build(save(more, np.vstack([faces, [[0, 0, 1], [2, 3, 2]]])))
    assert dataset.notes() == []
    assert len(dataset.surface.faces) == len(faces)
    assert float(dataset.domain.aabb.size.max()) < 10.0, "a vertex that no face uses does not widen the box"


def test_a_flat_sheet_is_fitted_with_a_warning(save, build: Build):
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    dataset = build(save(square, np.array([[0, 1, 2], [0, 2, 3]])))
    assert "the mesh is not closed (4 boundary edges)" in dataset.notes()[0]
    assert "none of 2000 points lie inside: the surface encloses little or no volume" in dataset.notes()[1]
    inside = (dataset.positions[:, :2] > 0).all(1) & (dataset.positions[:, :2] < 1).all(1)
    torch.testing.assert_close(
        distances(dataset)[inside].abs(), dataset.positions[inside, 2].abs(), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bunny_flipped.ply", ["the faces point inward"]),
        ("bunny_stanford_holes.obj", ["not closed (223 boundary edges)"]),
        ("truck_messy.obj", ["1388 boundary edges and 54 edges with more than two faces", "wound inconsistently"]),
        ("soup_100.stl", ["not closed (300 boundary edges)"]),
    ],
)
def test_real_awkward_meshes_are_fitted_with_a_note(name: str, said: list[str], data: Path, build: Build):
    dataset = build(data / "meshes" / name)
    notes = dataset.notes()
    assert all(any(part in note for note in notes) for part in said)
    assert all(name in note for note in notes)
    assert dataset.n_items == 2000
    assert bool(dataset.targets.isfinite().all())


def test_a_real_mesh_and_its_inside_out_twin_have_the_same_solid(data: Path, build: Build):
    straight = build(data / "meshes" / "bunny_watertight.off")
    flipped = build(data / "meshes" / "bunny_flipped.ply")
    x = straight.positions
    assert straight.notes() == []
    assert torch.equal(straight.surface.inside(x), flipped.surface.inside(x))
    assert straight.surface.inside(x).any()


def test_reading_merges_equal_vertices_and_keeps_the_coordinates(save):
    vertices, faces = sphere(1)
    soup = vertices[faces].reshape(-1, 3)
    found = read_mesh(save(soup, np.arange(len(soup)).reshape(-1, 3), "a.stl")).vertices
    assert len(found) == len(vertices)
    np.testing.assert_allclose(sorted(map(tuple, found.round(4))), sorted(map(tuple, vertices.round(4))), atol=2e-4)
