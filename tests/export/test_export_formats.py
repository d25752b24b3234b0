"""Meshes and point clouds as other programs read them: same place, outward, coloured where there is colour."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor, nn

from fieldengine.errors import TrainingError
from fieldengine.export.mesh import FORMATS, MeshExporter, extract
from fieldengine.export.points import PointsExporter
from fieldengine.runs.build import TrainedField
from fieldengine.types import Aabb, Domain

CENTRE = np.array([10.0, 0.0, -5.0])
RADIUS = 1.5
BOX = Aabb.of(CENTRE - 2.0, CENTRE + 2.0)
MIDDLE = torch.from_numpy(CENTRE).float()


class Ball(nn.Module):
    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.vector_norm(x - MIDDLE, dim=-1) - RADIUS, x[:, :0]


class Glow(nn.Module):
    """The same ball, whose colour is the direction one looks along, turned round: its outward normal, seen head-on."""

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 1e3 * (RADIUS - torch.linalg.vector_norm(x - MIDDLE, dim=-1)).clamp(min=0), x

    def rgb(self, features: Tensor, viewdirs: Tensor, normals: Tensor | None = None) -> Tensor:
        return 0.5 - 0.5 * viewdirs


def trained(field: nn.Module) -> TrainedField:
    return TrainedField(field, None, Domain(task="sdf", aabb=BOX, out_dim=1))


def reloaded(path: Path) -> trimesh.Trimesh:
    mesh = trimesh.load(path, force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def outward(places: Any) -> Any:
    away = np.asarray(places) - CENTRE
    return away / np.linalg.norm(away, axis=1, keepdims=True)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_comes_back_where_it_was_closed_and_outward(tmp_path: Path, suffix: str):
    out = tmp_path / f"ball{suffix}"
    sentence = MeshExporter(resolution=32).write(trained(Ball()), out)
    mesh = reloaded(out)
    mesh.merge_vertices(merge_norm=True, merge_tex=True)
    np.testing.assert_allclose(mesh.bounds, [CENTRE - RADIUS, CENTRE + RADIUS], atol=0.01)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.02)
    assert f"{len(mesh.faces)} faces" in sentence
    assert "watertight" in sentence
    assert "not" not in sentence


def test_all_formats_hold_the_same_surface(tmp_path: Path):
    bounds = []
    for suffix in FORMATS:
        MeshExporter(resolution=24).write(trained(Ball()), tmp_path / f"ball{suffix}")
        mesh = reloaded(tmp_path / f"ball{suffix}")
        bounds.append([*mesh.bounds.ravel(), mesh.area, len(mesh.faces)])
    np.testing.assert_allclose(bounds, np.broadcast_to(bounds[0], (len(FORMATS), 8)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_a_radiance_field_gives_each_vertex_its_colour_seen_head_on(tmp_path: Path, suffix: str):
    out = tmp_path / f"glow{suffix}"
    MeshExporter(resolution=32).write(trained(Glow()), out)
    mesh = reloaded(out)
    assert mesh.visual.kind == "vertex"
    colours = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255.0
    error = np.abs(colours - (0.5 + 0.5 * outward(mesh.vertices)))  # slivers have normals of their own
    assert error.mean() < 0.02
    assert error.max() < 0.2


def test_a_surface_without_colours_gets_none(tmp_path: Path):
    MeshExporter(resolution=12).write(trained(Ball()), tmp_path / "ball.ply")
    assert reloaded(tmp_path / "ball.ply").visual.kind is None


def test_resolution_and_level_are_heeded():
    coarse, fine = extract(trained(Ball()), 12), extract(trained(Ball()), 48)
    assert len(fine.faces) > 10 * len(coarse.faces)
    grown = extract(trained(Ball()), 48, level=0.25)
    np.testing.assert_allclose(grown.bounds[1] - CENTRE, [RADIUS + 0.25] * 3, atol=0.01)


def test_a_level_that_nothing_reaches_is_said_with_what_to_do(tmp_path: Path):
    for level in (-9.0, 9.0):  # with all of the box inside the mesh would be the box
        with pytest.raises(
            TrainingError, match=rf"level {level:g}: the field's values go from -\d\.\d+ to \d\.\d+\. Set"
        ) as said:
            MeshExporter(resolution=12, level=level).write(trained(Ball()), tmp_path / "ball.ply")
        low, high = map(float, re.findall(r"-?\d\.\d+", str(said.value)))
        assert -RADIUS <= low < -0.5 * RADIUS < RADIUS < high
    assert not list(tmp_path.iterdir())


def test_the_sentence_counts_what_is_in_the_file(tmp_path: Path):
    out = tmp_path / "ball.ply"
    sentence = MeshExporter(resolution=16).write(trained(Ball()), out)
    mesh = reloaded(out)
    assert sentence.startswith(f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces")


# ----------------------------------------------------------------------------------------------------- point clouds


def read_points(path: Path) -> dict[str, Any]:
    """Positions, normals and colours of a point cloud, as its file says."""
    if path.suffix == ".xyz":
        table = np.loadtxt(path)
        return {"positions": table[:, :3], "normals": table[:, 3:]}
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    assert "format binary_little_endian 1.0" in lines
    count = int(next(line for line in lines if line.startswith("element vertex")).split()[-1])
    first = lines.index(f"element vertex {count}") + 1
    kinds = {"float": "<f4", "double": "<f8", "uchar": "u1"}
    fields = []
    for line in lines[first:]:
        if not line.startswith("property"):
            break
        _, kind, name = line.split()
        fields.append((name, kinds[kind]))
    rows = np.frombuffer(body, dtype=fields, count=count)
    groups = {"positions": ("x", "y", "z"), "normals": ("nx", "ny", "nz"), "colours": ("red", "green", "blue")}
    return {
        group: np.stack([rows[name] for name in members], axis=1).astype(float)
        for group, members in groups.items()
        if members[0] in rows.dtype.names
    }


@pytest.mark.parametrize("suffix", [".ply", ".xyz"])
def test_points_lie_on_the_surface_with_outward_unit_normals(tmp_path: Path, suffix: str):
    out = tmp_path / f"ball{suffix}"
    sentence = PointsExporter(points=3000, resolution=40).write(trained(Ball()), out)
    found = read_points(out)
    assert len(found["positions"]) == 3000
    assert "3000 points with normals" in sentence
    np.testing.assert_allclose(np.linalg.norm(found["positions"] - CENTRE, axis=1), RADIUS, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(found["normals"], axis=1), 1.0, atol=1e-4)
    assert (found["normals"] * outward(found["positions"])).sum(axis=1).min() > 0.98


def test_points_are_spread_evenly_over_the_area(tmp_path: Path):
    out = tmp_path / "ball.xyz"
    PointsExporter(points=8000, resolution=40).write(trained(Ball()), out)
    directions = outward(read_points(out)["positions"])
    # of even points on a sphere each coordinate is uniform in [-1, 1] (Archimedes)
    for axis in range(3):
        counts = np.histogram(directions[:, axis], bins=10, range=(-1, 1))[0]
        np.testing.assert_allclose(counts, 800, atol=5 * math.sqrt(800))


def test_points_of_a_radiance_field_have_its_colours(tmp_path: Path):
    out = tmp_path / "glow.ply"
    sentence = PointsExporter(points=500, resolution=32).write(trained(Glow()), out)
    assert "colours" in sentence
    found = read_points(out)
    error = np.abs(found["colours"] / 255 - (0.5 + 0.5 * outward(found["positions"])))
    assert error.mean() < 0.03
    assert error.max() < 0.2
    PointsExporter(points=500, resolution=32).write(trained(Ball()), tmp_path / "ball.ply")
    assert "colours" not in read_points(tmp_path / "ball.ply")


def test_the_seed_chooses_the_points(tmp_path: Path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        PointsExporter(points=50, resolution=16, seed=seed).write(trained(Ball()), tmp_path / f"{name}.xyz")
    a, b, c = (read_points(tmp_path / f"{name}.xyz")["positions"] for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
