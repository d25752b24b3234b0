"""Camera paths: poses are rotations that look where they should, and files are read or refused in words."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fieldengine.cameras.paths import look_at, orbit, spiral
from fieldengine.types import Aabb, Domain

CENTRE = (1.0, -2.0, 3.0)


def domain(up: tuple[float, float, float] = (0.0, 0.0, 1.0), elevation: float = 0.4) -> Domain:
    return Domain("views", Aabb.of([-1] * 3, [1] * 3), 3, centre=CENTRE, radius=5.0, elevation=elevation, up=up)


def assert_is_a_rotation(pose: Tensor) -> None:
    assert pose.shape == (3, 4)
    axes = pose[:, :3]
    torch.testing.assert_close(axes.T @ axes, torch.eye(3), rtol=0, atol=1e-5)
    assert float(torch.linalg.det(axes)) == pytest.approx(1, abs=1e-5)


def assert_looks_at(pose: Tensor, target: Tensor) -> None:
    forward = torch.nn.functional.normalize(target - pose[:, 3], dim=0)
    torch.testing.assert_close(-pose[:, 2], forward, rtol=0, atol=1e-5)


def test_look_at_stands_at_the_eye_upright():
    pose = look_at(torch.tensor([0.0, -4.0, 0.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    # from the front, in a world with z up: x is right, z is up, the camera's back points to -y
    expected = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, -4], [0, 1, 0, 0]])
    torch.testing.assert_close(pose, expected)


coordinate = st.floats(-5, 5, width=32)
point = st.tuples(coordinate, coordinate, coordinate)
directions = point.filter(lambda v: math.hypot(*v) > 0.5)


@given(point, directions, directions)
@settings(deadline=None, max_examples=200)
def test_look_at_gives_a_right_handed_rotation_that_looks_at_the_target(target, offset, up):
    eye = torch.tensor(target) + torch.tensor(offset)
    pose = look_at(eye, torch.tensor(target), torch.tensor(up))
    assert_is_a_rotation(pose)
    assert torch.equal(pose[:, 3], eye)
    assert_looks_at(pose, torch.tensor(target))
    assert float(pose[:, 1] @ torch.tensor(up)) >= -1e-4  # upwards in the image


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_looking_along_up_still_gives_a_rotation(axis: int, sign: float):
    up = torch.eye(3)[axis]
    pose = look_at(sign * 3 * up, torch.zeros(3), up)
    assert_is_a_rotation(pose)
    assert_looks_at(pose, torch.zeros(3))


UPS = [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, -2.0, 0.0), (1.0, 1.0, 1.0)]


@pytest.mark.parametrize("up", UPS)
def test_an_orbit_closes_in_even_steps_around_up(up: tuple[float, float, float]):
    n, scene = 8, domain(up)
    poses = orbit(scene, n)
    assert len(poses) == n
    axis = torch.nn.functional.normalize(torch.tensor(up), dim=0)
    offsets = torch.stack([pose[:, 3] for pose in poses]) - torch.tensor(CENTRE)
    heights = offsets @ axis
    torch.testing.assert_close(heights, torch.full((n,), 5 * math.sin(scene.elevation)))
    flat = torch.nn.functional.normalize(offsets - heights[:, None] * axis, dim=-1)
    following = flat.roll(-1, dims=0)
    steps = torch.atan2(torch.linalg.cross(flat, following) @ axis, (flat * following).sum(-1))
    torch.testing.assert_close(steps, torch.full((n,), 2 * math.pi / n))


@pytest.mark.parametrize("up", UPS)
@pytest.mark.parametrize("path", [orbit, spiral])
def test_every_pose_of_a_path_looks_at_the_centre_with_up_upwards(path, up: tuple[float, float, float]):
    for pose in path(domain(up), 7):
        assert_is_a_rotation(pose)
        assert_looks_at(pose, torch.tensor(CENTRE))
        assert float(pose[:, 1] @ torch.tensor(up)) > 0


def test_a_spiral_rises_in_two_turns_and_comes_a_little_closer_in_the_middle():
    n = 81
    offsets = torch.stack([pose[:, 3] for pose in spiral(domain(), n)]) - torch.tensor(CENTRE)
    radii = torch.linalg.vector_norm(offsets, dim=-1)
    assert float(radii[0]) == pytest.approx(5)
    assert float(radii[-1]) == pytest.approx(5)
    assert float(radii[n // 2]) == pytest.approx(5 * 0.85)
    elevations = torch.asin(offsets[:, 2] / radii)
    torch.testing.assert_close(elevations, torch.linspace(0.1, 1.1, n), rtol=0, atol=1e-5)
    azimuths = torch.atan2(offsets[:, 1], offsets[:, 0])
    steps = (azimuths.diff() + math.pi).remainder(2 * math.pi) - math.pi
    torch.testing.assert_close(steps.sum(), torch.tensor(4 * math.pi))
    assert (steps > 0).all()


@pytest.mark.parametrize("path", [orbit, spiral])
def test_a_path_of_one_frame_is_one_pose(path):
    (pose,) = path(domain(), 1)
    assert_is_a_rotation(pose)
