"""The march through an occupancy grid against a loop over rays and steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fieldengine.ops import intersect_aabb, march
from fieldengine.types import Aabb, Rays, Samples

BOX = Aabb.of([-1, -2, -3], [1, 2, 3])
STEP = 0.13


def random_rays(n: int = 60) -> Rays:
    """Most hit the box, from all sides; the last third looks away from it."""
    generator = torch.Generator().manual_seed(0)
    origins = 6 * torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    toward = torch.rand(n, 3, generator=generator) * 2 - 1 - origins
    toward[2 * n // 3 :] *= -1
    return Rays(origins, torch.nn.functional.normalize(toward, dim=-1))


def random_grid(resolution: int = 5) -> Tensor:
    return torch.rand(3 * (resolution,), generator=torch.Generator().manual_seed(1)) > 0.6


def full_grid() -> Tensor:
    return torch.ones(2, 2, 2, dtype=torch.bool)


def run(rays: Rays, occupied: Tensor, jitter: Tensor | None = None, **more) -> Samples:
    t_near, t_far = intersect_aabb(rays, BOX)
    return march(rays, t_near, t_far, step=STEP, aabb=BOX, occupied=occupied, jitter=jitter, **more)


def loop(rays: Rays, occupied: Tensor, jitter: Tensor | None) -> tuple[list[int], list[float], list[float]]:
    """Each ray and each step by itself, in plain numbers."""
    nears, fars = (part.tolist() for part in intersect_aabb(rays, BOX))
    lower, size, n = BOX.lower.tolist(), BOX.size.tolist(), len(occupied)
    indices, starts, ends = [], [], []
    for ray, (near, far) in enumerate(zip(nears, fars, strict=True)):
        origin, direction = rays.origins[ray].tolist(), rays.viewdirs[ray].tolist()
        t = near if jitter is None else near - (1 - float(jitter[ray])) * STEP
        while t < far and far > near:
            t0, t1 = max(t, near), min(t + STEP, far)
            x = [o + 0.5 * (t0 + t1) * d for o, d in zip(origin, direction, strict=True)]
            cell = [min(int((v - a) / s * n), n - 1) for v, a, s in zip(x, lower, size, strict=True)]
            if occupied[tuple(cell)] and t1 > t0:
                indices.append(ray)
                starts.append(t0)
                ends.append(t1)
            t += STEP
    return indices, starts, ends


@pytest.mark.parametrize("jittered", [False, True])
def test_equals_a_loop_over_rays_and_steps(jittered: bool):
    rays, occupied = random_rays(), random_grid()
    jitter = torch.rand(len(rays), generator=torch.Generator().manual_seed(2)) if jittered else None
    samples = run(rays, occupied, jitter)
    indices, starts, ends = loop(rays, occupied, jitter)
    assert len(samples) > 100
    assert samples.ray_indices.tolist() == indices
    torch.testing.assert_close(samples.t_starts, torch.tensor(starts), rtol=0, atol=1e-5)
    torch.testing.assert_close(samples.t_ends, torch.tensor(ends), rtol=0, atol=1e-5)


@pytest.mark.parametrize("jittered", [False, True])
def test_a_full_grid_is_covered_from_near_to_far_without_gaps(jittered: bool):
    rays = random_rays()
    jitter = torch.rand(len(rays), generator=torch.Generator().manual_seed(3)) if jittered else None
    samples = run(rays, full_grid(), jitter)
    t_near, t_far = intersect_aabb(rays, BOX)
    assert (t_far > t_near).sum() > 20
    for ray in range(len(rays)):
        mine = samples.ray_indices == ray
        starts, ends = samples.t_starts[mine], samples.t_ends[mine]
        if t_far[ray] <= t_near[ray]:
            assert not mine.any()
            continue
        assert float(starts[0]) == float(t_near[ray])
        assert float(ends[-1]) == pytest.approx(float(t_far[ray]), abs=1e-5)
        assert torch.equal(starts[1:], ends[:-1])
        assert ((ends - starts) < STEP + 1e-5).all()
        torch.testing.assert_close((ends - starts)[1:-1], torch.full_like(starts[1:-1], STEP), rtol=0, atol=1e-5)


def test_jitter_shifts_the_borders_of_a_ray_by_that_part_of_a_step():
    rays = Rays(torch.tensor([[0.0, 0, -5]]).repeat(3, 1), torch.tensor([[0.0, 0, 1]]).repeat(3, 1))
    samples = run(rays, full_grid(), torch.tensor([0.0, 0.25, 0.5]))
    first = [float(samples.t_ends[samples.ray_indices == ray][0]) for ray in range(3)]
    # with jitter 0 the first interval would lie before the box and is left out
    assert first == pytest.approx([2 + STEP, 2 + 0.25 * STEP, 2 + 0.5 * STEP], abs=1e-5)


def test_the_first_axis_of_the_grid_is_x():
    occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    occupied[3] = True  # x from 0.5 to 1
    rays = Rays(torch.tensor([[-5.0, 0.1, 0.1]]), torch.tensor([[1.0, 0, 0]]))
    samples = run(rays, occupied)
    middles = 0.5 * (samples.t_starts + samples.t_ends) - 5
    assert len(samples) == math.floor(0.5 / STEP) or len(samples) == math.ceil(0.5 / STEP)
    assert ((middles > 0.5) & (middles < 1)).all()


def test_an_empty_grid_gives_no_samples_and_remembers_how_many_rays_there_were():
    samples = run(random_rays(), torch.zeros(3, 3, 3, dtype=torch.bool))
    assert len(samples) == 0
    assert samples.n_rays == 60


def test_rays_that_all_miss_give_no_samples():
    rays = random_rays()[40:]
    samples = run(rays, full_grid())
    assert (len(samples), samples.n_rays) == (0, len(rays))
    assert samples.ray_indices.dtype == torch.int64
    assert samples.midpoints(rays).shape == (0, 3)


def test_no_rays_give_no_samples():
    samples = run(Rays(torch.zeros(0, 3), torch.zeros(0, 3)), full_grid())
    assert (len(samples), samples.n_rays) == (0, 0)


@pytest.mark.parametrize("most", [1, 100, 1000])
def test_how_many_candidates_are_looked_at_in_one_go_changes_nothing(most: int):
    rays, occupied = random_rays(), random_grid()
    jitter = torch.rand(len(rays), generator=torch.Generator().manual_seed(4))
    whole, parts = run(rays, occupied, jitter), run(rays, occupied, jitter, most=most)
    assert torch.equal(whole.ray_indices, parts.ray_indices)
    assert torch.equal(whole.t_starts, parts.t_starts)
    assert torch.equal(whole.t_ends, parts.t_ends)
    assert whole.n_rays == parts.n_rays
