"""Sphere tracing and shading of distances that are known exactly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fieldengine.renderers.sphere_tracing import numerical_normals, shade, sphere_trace
from fieldengine.types import Rays

CENTRE, RADIUS = torch.tensor([0.2, -0.1, 0.3]), 0.7
UP = torch.tensor([0.0, 0.0, 1.0])


def sphere(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x - CENTRE, dim=-1) - RADIUS


def rays_at(offsets: list[float]) -> Rays:
    """Downwards from z = 4, past the centre of the sphere at these distances."""
    origins = torch.tensor([[float(CENTRE[0]) + offset, float(CENTRE[1]), 4.0] for offset in offsets])
    return Rays(origins, torch.tensor([[0.0, 0.0, -1.0]]).expand(len(offsets), 3))


def trace(rays: Rays, far: float = 10.0, **options) -> tuple[Tensor, Tensor]:
    return sphere_trace(
        rays, sphere, torch.zeros(len(rays)), torch.full((len(rays),), far), **{"close": 1e-5, **options}
    )


@pytest.mark.parametrize("relax", [1.0, 0.8])
def test_a_sphere_is_hit_where_the_quadratic_formula_says(relax: float):
    offsets = [0.0, 0.3, -0.5, 0.6]
    t, hit = trace(rays_at(offsets), relax=relax)
    assert hit.all()
    expected = [4 - float(CENTRE[2]) - math.sqrt(RADIUS**2 - offset**2) for offset in offsets]
    torch.testing.assert_close(t, torch.tensor(expected), rtol=0, atol=1e-3)


def test_rays_that_pass_by_hit_nothing():
    _, hit = trace(rays_at([0.0, 0.75, -0.9, 3.0]))
    assert hit.tolist() == [True, False, False, False]


def test_what_lies_beyond_far_is_not_hit():
    _, hit = trace(rays_at([0.0]), far=2.9)
    assert not hit.any()


def test_what_lies_before_near_is_not_seen():
    rays = rays_at([0.0])
    _, hit = sphere_trace(rays, sphere, torch.tensor([5.0]), torch.tensor([10.0]), close=1e-5)
    assert not hit.any()


def test_a_ray_that_starts_inside_hits_at_once():
    rays = Rays(CENTRE[None], torch.tensor([[1.0, 0.0, 0.0]]))
    t, hit = trace(rays)
    assert hit.all()
    assert float(t) == 0


def test_an_empty_part_is_never_asked():
    def never(x: Tensor) -> Tensor:
        raise AssertionError("asked")

    rays = rays_at([0.0, 0.1])
    _, hit = sphere_trace(rays, never, torch.zeros(2), torch.zeros(2), close=1e-5)
    assert not hit.any()


def test_rays_that_arrived_or_left_are_not_asked_again():
    asked: list[int] = []

    def counting(x: Tensor) -> Tensor:
        asked.append(len(x))
        return sphere(x)

    rays = rays_at([0.0] * 10 + [2.0] * 10)
    sphere_trace(rays, counting, torch.zeros(20), torch.full((20,), 6.0), close=1e-5)
    assert asked[0] == 20
    assert asked == sorted(asked, reverse=True)
    assert len(asked) < 30
    assert sum(asked) < 200


def test_a_distance_twice_too_steep_is_still_hit_with_half_steps():
    rays = rays_at([0.0, 0.4, 0.65])
    t, hit = sphere_trace(rays, lambda x: 2 * sphere(x), torch.zeros(3), torch.full((3,), 10.0), close=1e-5, relax=0.5)
    exact, _ = trace(rays)
    assert hit.all()
    torch.testing.assert_close(t, exact, rtol=0, atol=1e-3)


def test_no_rays_hit_nothing():
    t, hit = trace(rays_at([0.0])[:0])
    assert t.shape == hit.shape == (0,)


def test_normals_of_a_sphere_point_away_from_its_centre():
    outward = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    normals = numerical_normals(sphere, CENTRE + RADIUS * outward, h=1e-2)
    torch.testing.assert_close(normals, outward, rtol=0, atol=1e-3)


def test_a_image_is_background_beside_and_brightest_where_the_surface_faces_the_camera():
    rays = rays_at([0.0, 0.4, 0.65, 2.0])
    t, hit = trace(rays)
    background = torch.tensor([0.1, 0.2, 0.3])
    image = shade(rays, sphere, t, hit, background, up=UP, h=1e-2)
    assert image.shape == (4, 3)
    torch.testing.assert_close(image[3], background)
    brightness = image[:3].mean(-1)
    assert (brightness.diff() < 0).all()
    assert image.min() >= 0
    assert image.max() <= 1
    torch.testing.assert_close(background, torch.tensor([0.1, 0.2, 0.3]))


def test_light_from_above_tells_top_from_bottom():
    rays = Rays(torch.tensor([[4.0, -0.1, 0.7], [4.0, -0.1, -0.1]]), torch.tensor([[-1.0, 0.0, 0.0]]).expand(2, 3))
    t, hit = trace(rays)
    assert hit.all()
    image = shade(rays, sphere, t, hit, torch.ones(3), up=UP, h=1e-2)
    assert float(image[0].mean()) > float(image[1].mean()) + 0.05


def test_a_image_of_nothing_is_all_background():
    rays = rays_at([2.0, 3.0])
    t, hit = trace(rays)
    assert torch.equal(shade(rays, sphere, t, hit, torch.ones(3), up=UP, h=1e-2), torch.ones(2, 3))
