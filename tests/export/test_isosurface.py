"""Marching cubes: closed, outward, in own coordinates, and the same however space is cut into slabs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mcubes
import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor, nn

from fieldengine.export.isosurface import POINTS, SLAB, Triangles, isosurface, solid
from fieldengine.types import Aabb

Inside = Callable[[Tensor], Tensor]
BOX = Aabb.of([-1.0] * 3, [1.0] * 3)
SLABS = [SLAB, 20_000, 7_777, 1]  # everything at once; parts that do and do not divide; as little as can be


def ball(radius: float, *centre: float) -> Inside:
    """Positive inside a ball."""
    middle = torch.tensor(centre or (0.0, 0.0, 0.0))
    return lambda x: radius - torch.linalg.vector_norm(x - middle, dim=-1)


def network(seed: int = 0) -> Inside:
    """A ball with dents that a small network makes: its values depend, in the last bit, on how they are asked for."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    return lambda x: ball(0.7)(x) + 0.3 * net(3.0 * x)[:, 0]


def mesh_of(found: Triangles) -> trimesh.Trimesh:
    return trimesh.Trimesh(found.vertices, found.faces, process=False)


def canonical(found: Triangles, unit: float) -> tuple[Any, Any]:
    """Vertices and faces in an order of their own; places closer than a hundred thousandth of a unit are one."""
    places, index = np.unique(np.round(found.vertices / unit * 1e5).astype(int), axis=0, return_inverse=True)
    faces = index.reshape(-1)[found.faces]
    first = faces.argmin(axis=1)[:, None]
    turned = np.take_along_axis(faces, (first + np.arange(3)) % 3, axis=1)
    return places, np.unique(turned, axis=0)


def assert_closed(found: Triangles) -> None:
    mesh = mesh_of(found)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0, "faces look outwards"


@pytest.mark.parametrize("radius", [0.3, 0.5, 0.83])
def test_a_ball_has_the_area_and_the_volume_of_a_ball(radius: float):
    found = mesh_of(isosurface(ball(radius, 0.05, -0.1, 0.02), BOX, 64))
    assert found.area == pytest.approx(4 * math.pi * radius**2, rel=0.01)
    assert found.volume == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)
    assert found.euler_number == 2


def test_twice_the_resolution_is_about_four_times_as_exact():
    errors = [abs(mesh_of(isosurface(ball(0.7), BOX, n)).volume - 4 / 3 * math.pi * 0.343) for n in (12, 24, 48)]
    assert errors[1] < 0.4 * errors[0]
    assert errors[2] < 0.4 * errors[1]


@pytest.mark.parametrize("most", SLABS)
@pytest.mark.parametrize("shape", [ball(0.7), ball(0.5), network()], ids=["ball", "ball on the lattice", "network"])
def test_a_surface_is_closed_and_looks_outwards_however_space_is_cut(shape: Inside, most: int):
    assert_closed(isosurface(shape, BOX, 40, most))


@pytest.mark.parametrize("most", SLABS[1:])
@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (ball(0.7), BOX),
        (ball(1.2), BOX),
        (network(), BOX),
        (ball(0.6, 0.5, 0.5, 0.5), Aabb.of([0.0, 0.0, 0.0], [3.0, 1.0, 1.5])),
    ],
    ids=["ball", "cut by the box", "network", "long box"],
)
def test_the_mesh_does_not_depend_on_how_space_is_cut(shape: Inside, box: Aabb, most: int):
    whole, parts = (canonical(isosurface(shape, box, 40, m), float(box.size.max()) / 40) for m in (SLAB, most))
    assert np.array_equal(parts[0], whole[0])
    assert np.array_equal(parts[1], whole[1])


@pytest.mark.parametrize("most", SLABS)
def test_a_solid_that_the_box_cuts_is_closed_where_it_is_cut(most: int):
    found = isosurface(ball(1.2), BOX, 40, most)
    assert_closed(found)
    cap = math.pi * 0.2**2 * (3 * 1.2 - 0.2) / 3
    assert mesh_of(found).volume == pytest.approx(4 / 3 * math.pi * 1.2**3 - 6 * cap, rel=0.02)


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3], ids="values of {:g}".format)
def test_a_box_that_is_all_inside_is_the_box_whatever_the_size_of_its_values(strength: float):
    found = isosurface(lambda x: torch.full((len(x),), strength), BOX, 40)
    assert_closed(found)
    assert mesh_of(found).volume == pytest.approx(8.0, rel=0.02)
    np.testing.assert_allclose(mesh_of(found).bounds, [[-1] * 3, [1] * 3], atol=0.1 * 2 / 40)


@pytest.mark.parametrize("shape", [ball(0.7), ball(1.2)], ids=["ball", "cut by the box"])
def test_the_mesh_does_not_depend_on_the_unit_of_length(shape: Inside):
    small = isosurface(shape, BOX, 24)
    for unit in (1e-3, 1e3):
        large = isosurface(lambda x, u=unit: u * shape(x / u), Aabb(unit * BOX.lower, unit * BOX.upper), 24)
        assert len(large.faces) == len(small.faces)
        np.testing.assert_allclose(mesh_of(large).volume / unit**3, mesh_of(small).volume, rtol=1e-3)


def test_a_mesh_lies_in_the_coordinates_of_its_box():
    box = Aabb.of([100.0, -3.0, -50.0], [104.0, 1.0, -46.0])
    found = mesh_of(isosurface(ball(1.5, 102.0, -1.0, -48.0), box, 40))
    np.testing.assert_allclose(found.bounds, [[100.5, -2.5, -49.5], [103.5, 0.5, -46.5]], atol=0.02)
    np.testing.assert_allclose(found.center_mass, [102.0, -1.0, -48.0], atol=0.01)


def test_axes_are_not_mixed_up():
    stretched = torch.tensor([1.0, 2.0, 4.0])
    found = mesh_of(isosurface(lambda x: 0.9 - torch.linalg.vector_norm(x * stretched, dim=-1), BOX, 60))
    np.testing.assert_allclose(found.bounds[1], [0.9, 0.45, 0.225], atol=0.01)


@pytest.mark.parametrize("most", SLABS)
def test_a_box_of_unequal_edges_is_cut_into_cubes(most: int):
    box = Aabb.of([0.0, 0.0, 0.0], [3.0, 1.0, 1.37])  # its edges are no whole numbers of cells
    found = isosurface(ball(0.45, 1.5, 0.5, 0.6), box, 60, most)
    assert_closed(found)
    assert mesh_of(found).volume == pytest.approx(4 / 3 * math.pi * 0.45**3, rel=0.02)
    lattice = (found.vertices - 0.0) / (3.0 / 60)
    whole = np.abs(lattice - np.round(lattice)) < 1e-6
    assert (whole.sum(axis=1) >= 2).all(), "every vertex lies on an edge of a cube of 1/60 of the longest edge"
    filled = mesh_of(isosurface(lambda x: torch.ones(len(x)), box, 60, most))
    assert (filled.bounds[0] > -0.05).all()
    assert (filled.bounds[1] < box.upper.numpy() + 2 * 0.05).all()


@pytest.mark.parametrize("most", [SLAB, 10_000, 5_000])
def test_memory_holds_one_slab_and_the_field_is_asked_in_small_parts(monkeypatch: pytest.MonkeyPatch, most: int):
    values, points = [], []
    original = mcubes.marching_cubes

    def spy(array: Any, level: float) -> Any:
        values.append(array.size)
        return original(array, level)

    def asked(x: Tensor) -> Tensor:
        points.append(len(x))
        return ball(0.7)(x)

    monkeypatch.setattr(mcubes, "marching_cubes", spy)
    isosurface(asked, BOX, 40, most)
    assert max(values) <= most
    assert max(points) <= POINTS
    assert sum(points) == 41**3, "no place is asked twice"


def test_the_thinnest_slab_is_two_layers(monkeypatch: pytest.MonkeyPatch):
    sizes = []
    original = mcubes.marching_cubes
    monkeypatch.setattr(mcubes, "marching_cubes", lambda v, level: sizes.append(v.shape) or original(v, level))
    isosurface(ball(0.7), BOX, 20, 1)
    assert {shape[0] for shape in sizes} == {2}


def test_no_triangle_is_without_area_even_where_the_surface_runs_through_the_lattice():
    for shape in (ball(0.5), lambda x: 0.5 - x.abs().amax(dim=-1), lambda x: x[:, 0] * 1.0):
        found = isosurface(shape, BOX, 40)
        assert_closed(found)
        faces = found.faces
        assert (faces[:, 0] != faces[:, 1]).all()
        assert (faces[:, 1] != faces[:, 2]).all()
        assert (faces[:, 2] != faces[:, 0]).all()


@pytest.mark.parametrize("past", [1e-12, 1e-10, 3e-10, 1e-6, -3e-10])
def test_a_mesh_stays_closed_in_a_file_of_rounded_numbers(tmp_path: Path, past: float):
    # six points of the lattice lie this far inside the ball: the vertices around each are all but one
    found = isosurface(lambda x: ball(0.5, 0.25, 0.25, 0.25)(x.double()) + past, BOX, 32)
    mesh_of(found).export(tmp_path / "ball.ply")
    again = trimesh.load(tmp_path / "ball.ply")  # which makes one of vertices that are equal
    assert len(again.vertices) == len(found.vertices)
    assert again.is_watertight


def test_solids_that_do_not_touch_stay_apart():
    two = isosurface(lambda x: torch.maximum(ball(0.3, -0.5, 0, 0)(x), ball(0.3, 0.5, 0, 0)(x)), BOX, 40, 9_000)
    assert mesh_of(two).body_count == 2
    assert_closed(two)


def test_a_hollow_ball_has_an_inner_wall_that_looks_inwards():
    shell = isosurface(lambda x: torch.minimum(ball(0.8)(x), -ball(0.5)(x)), BOX, 64)
    assert_closed(shell)
    assert mesh_of(shell).volume == pytest.approx(4 / 3 * math.pi * (0.8**3 - 0.5**3), rel=0.02)


def test_nothing_inside_gives_no_triangles():
    found = isosurface(lambda x: torch.full((len(x),), -1.0), BOX, 10)
    assert found.vertices.shape == found.faces.shape == (0, 3)


def test_what_is_not_a_number_counts_as_outside():
    def torn(x: Tensor) -> Tensor:
        values = ball(0.7)(x)
        return torch.where(x[:, 0] > 0.9, torch.full_like(values, float("nan")), values)

    found = isosurface(torn, BOX, 40)
    assert np.isfinite(found.vertices).all()
    assert mesh_of(found).volume == pytest.approx(4 / 3 * math.pi * 0.343, rel=0.01)


def test_no_graph_is_kept():
    radius = torch.tensor(0.7, requires_grad=True)

    def inside(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return radius - torch.linalg.vector_norm(x, dim=-1)

    assert len(isosurface(inside, BOX, 10).faces)


# ---------------------------------------------------------------------------------------------------------- solids


class Surface(nn.Module):
    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.vector_norm(x, dim=-1) - 0.5, x


class Fog(nn.Module):
    """Density 1000 exp(-4 |x|)."""

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 1000 * torch.exp(-4 * torch.linalg.vector_norm(x, dim=-1)), x

    def rgb(self, features: Tensor, viewdirs: Tensor, normals: Tensor | None = None) -> Tensor:
        return features


def radius_of(field: nn.Module, level: float | None) -> float:
    inside, _ = solid(field, BOX, level)
    return (3 * mesh_of(isosurface(inside, BOX, 64)).volume / (4 * math.pi)) ** (1 / 3)


def test_the_level_of_a_surface_is_a_distance_outwards():
    assert radius_of(Surface(), None) == pytest.approx(0.5, rel=0.01)
    assert radius_of(Surface(), 0.2) == pytest.approx(0.7, rel=0.01)
    assert radius_of(Surface(), -0.2) == pytest.approx(0.3, rel=0.01)


def test_the_level_of_a_radiance_field_is_a_density():
    assert radius_of(Fog(), 100.0) == pytest.approx(math.log(10) / 4, rel=0.01)
    assert radius_of(Fog(), None) == pytest.approx(math.log(1000 / 64) / 4, rel=0.01)  # 128 per edge of 2


def test_the_default_density_is_opaque_within_the_same_share_of_any_box():
    for scale in (0.1, 10.0):
        _, level = solid(Fog(), Aabb(scale * BOX.lower, scale * BOX.upper))
        assert 1 - math.exp(-level * 2 * scale / 128) == pytest.approx(1 - 1 / math.e)


def test_a_field_without_an_inside_is_refused_by_name():
    with pytest.raises(ValueError, match="Identity knows neither"):
        solid(nn.Identity(), BOX)
