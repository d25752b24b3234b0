"""Rays and boxes: closed forms, special positions and directions, and what must hold for any ray."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fieldengine.ops import intersect_aabb
from fieldengine.types import Aabb, Rays

BOX = Aabb.of([-1, -2, -3], [1, 2, 3])


def meet(origin: list[float], direction: list[float], near: float = 0.0) -> tuple[float, float]:
    viewdir = torch.nn.functional.normalize(torch.tensor([direction], dtype=torch.float32))
    t_near, t_far = intersect_aabb(Rays(torch.tensor([origin], dtype=torch.float32), viewdir), BOX, near)
    return float(t_near), float(t_far)


def test_a_ray_from_outside_enters_one_face_and_leaves_the_other():
    assert meet([-5, 0.5, 0.5], [1, 0, 0]) == (4, 6)
    assert meet([0.5, 9, 0.5], [0, -1, 0]) == (7, 11)
    assert meet([0.5, 0.5, -4], [0, 0, 1]) == (1, 7)


def test_a_slanted_ray_is_cut_by_the_nearest_pair_of_faces():
    # x + y = -3 + sqrt(2) t: enters x = -1 at t = 2 sqrt(2), leaves x = 1 at 4 sqrt(2), y = 2 only later
    assert meet([-3, -2, 0], [1, 1, 0]) == pytest.approx((2 * math.sqrt(2), 4 * math.sqrt(2)))
    # enters through y = -2 where x is already inside, leaves through x = 1
    assert meet([-1.5, -3, 0], [1, 1, 0]) == pytest.approx((math.sqrt(2), 2.5 * math.sqrt(2)))


def test_from_inside_the_box_a_ray_starts_at_its_origin():
    assert meet([0, 0, 0], [1, 0, 0]) == (0, 1)
    assert meet([0, 0, 0], [0, 0, -1]) == (0, 3)
    assert meet([0.5, 1, 2], [-1, 0, 0]) == (0, 1.5)


def test_nothing_is_found_closer_than_near():
    assert meet([-5, 0, 0], [1, 0, 0], near=5.0) == (5, 6)
    assert meet([0, 0, 0], [1, 0, 0], near=0.25) == (0.25, 1)
    assert meet([-5, 0, 0], [1, 0, 0], near=7.0) == (7, 7)


@pytest.mark.parametrize(
    ("origin", "direction"),
    [
        ([-5, 3, 0], [1, 0, 0]),  # passes above
        ([-5, 0, 0], [-1, 0, 0]),  # looks away
        ([-5, -5, 0], [1, -1, 0]),  # turns off before
        ([0, 0, 4], [1, 0, 0]),  # parallel to the top, above it
        ([-5, 0, 0], [0, 1, 0]),  # parallel to a face, in front of it
        ([-3, 0, 0], [1, 1.5, 0]),  # reaches y = 2 before x = -1
    ],
)
def test_a_ray_that_misses_has_an_empty_part_at_near(origin: list[float], direction: list[float]):
    assert meet(origin, direction) == (0, 0)
    assert meet(origin, direction, near=0.5) == (0.5, 0.5)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_axis_parallel_rays_do_not_depend_on_the_sign_of_zero(zero: float):
    assert meet([-5, 0.5, 0.5], [1, zero, zero]) == (4, 6)
    assert meet([0.5, 0.5, -4], [zero, zero, 1]) == (1, 7)
    assert meet([-5, 3, 0], [1, zero, zero]) == (0, 0)


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("side", [-2.0, 2.0])
def test_a_ray_that_runs_within_a_face_is_inside(side: float, zero: float):
    assert meet([-5, side, 0], [1, zero, zero]) == (4, 6)


def test_no_rays_give_no_parts():
    t_near, t_far = intersect_aabb(Rays(torch.zeros(0, 3), torch.zeros(0, 3)), BOX)
    assert t_near.shape == t_far.shape == (0,)


def test_carries_no_gradient():
    origins = torch.tensor([[-5.0, 0, 0]], requires_grad=True)
    t_near, t_far = intersect_aabb(Rays(origins, torch.tensor([[1.0, 0, 0]])), BOX)
    assert not t_near.requires_grad
    assert not t_far.requires_grad


def outside(x: Tensor) -> Tensor:
    """How far (m, 3) lies beyond the faces of the box, negative inside."""
    return torch.maximum(BOX.lower - x, x - BOX.upper).amax(-1)


point = st.tuples(*[st.floats(-8, 8, width=32)] * 3)


@given(point, point.filter(lambda d: math.hypot(*d) > 0.1))
@settings(deadline=None, max_examples=300)
def test_the_part_begins_and_ends_on_the_box_and_nothing_else_is_inside(origin, direction):
    viewdir = torch.nn.functional.normalize(torch.tensor([direction]))
    rays = Rays(torch.tensor([origin]), viewdir)
    t_near, t_far = intersect_aabb(rays, BOX)
    t = torch.linspace(0, 40, 400)
    along = rays.origins + t[:, None] * viewdir
    assert 0 <= float(t_near) <= float(t_far)
    if float(t_far) > float(t_near):
        ends = rays.origins + torch.stack([t_near, t_far]) * viewdir
        assert outside(ends).max() < 1e-4
        assert abs(float(outside(ends[1]))) < 1e-4
        assert float(t_near) == 0 or abs(float(outside(ends[0]))) < 1e-4
    off = (t < t_near - 1e-3) | (t > t_far + 1e-3)
    assert (outside(along[off]) > -1e-2).all()
