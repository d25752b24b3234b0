"""The occupancy grid: what an update measures and forgets, and what sampling leaves alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from fieldengine.ray_samplers.occupancy import Occupancy, OccupancySampler
from fieldengine.types import Aabb, Rays

BOX = Aabb.of([-1, -1, -1], [1, 1, 1])
R = 16


def NOTHING(x: Tensor) -> Tensor:  # noqa: N802 - what these samplers do not ask
    return torch.zeros(len(x))


def grid(**options) -> OccupancySampler:
    sampler = Occupancy(**{"resolution": R, "steps": 128, **options}).build(aabb=BOX)
    assert isinstance(sampler, OccupancySampler)
    return sampler


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def ball(x: Tensor) -> Tensor:
    """Density 50 in the ball of radius 0.6 around (0.1, 0, -0.2)."""
    centre = torch.tensor([0.1, 0.0, -0.2])
    return 50.0 * (torch.linalg.vector_norm(x - centre, dim=-1) < 0.6).float()


def constant(sigma: float):
    return lambda x: torch.full((len(x),), sigma)


def empty(x: Tensor) -> Tensor:
    return torch.zeros(len(x))


def cell_corners() -> Tensor:
    """The eight corners of each cell, (8, R, R, R, 3), x first."""
    low = torch.stack(torch.meshgrid(*[torch.arange(R)] * 3, indexing="ij"), -1)
    corners = [low + torch.tensor(side) for side in itertools.product((0, 1), repeat=3)]
    return torch.stack(corners) * (2 / R) - 1


def rays_along_z(n: int = 20) -> Rays:
    origins = torch.rand(n, 3, generator=generator()) * 1.6 - 0.8
    origins[:, 2] = 3.0
    return Rays(origins, torch.tensor([0.0, 0.0, -1.0]).expand(n, 3))


def state(sampler: OccupancySampler) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in sampler.state_dict().items()}


def assert_same_state(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys() == {"estimate", "_extra_state"}
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_before_the_first_update_every_cell_is_occupied():
    assert grid().occupied.all()
    assert grid().occupied.shape == (R, R, R)


def test_an_update_marks_the_cells_of_a_ball_and_no_others():
    sampler = grid()
    sampler.update(ball, 0, generator())
    dense = ball(cell_corners().view(-1, 3)).view(8, R, R, R) > 0
    assert dense.all(0).sum() > 100
    assert sampler.occupied[dense.all(0)].all()
    distance = torch.linalg.vector_norm(cell_corners().mean(0) - torch.tensor([0.1, 0.0, -0.2]), dim=-1)
    out_of_reach = distance > 0.6 + 3**0.5 / R
    assert out_of_reach.sum() > 100
    assert not sampler.occupied[out_of_reach].any()


def test_cells_on_the_edge_of_a_ball_are_found_in_the_end():
    sampler, random = grid(warmup=10_000), generator()
    for step in range(0, 40 * 16, 16):
        sampler.update(ball, step, random)
    dense = ball(cell_corners().view(-1, 3)).view(8, R, R, R) > 0
    half = dense.sum(0) >= 4
    assert sampler.occupied[half].all()


def test_samples_lie_only_in_occupied_cells_and_cover_them():
    sampler = grid()
    sampler.update(ball, 0, generator())
    rays = rays_along_z()
    samples = sampler.sample(rays, NOTHING, None)
    cells = ((samples.midpoints(rays) + 1) * (R / 2)).long().clamp(0, R - 1)
    occupied = sampler.occupied
    assert len(samples) > 100
    assert occupied[cells[:, 0], cells[:, 1], cells[:, 2]].all()
    for ray in range(len(rays)):
        column = occupied[tuple(((rays.origins[ray, :2] + 1) * (R / 2)).long().tolist())]
        covered = (samples.t_ends - samples.t_starts)[samples.ray_indices == ray].sum()
        assert float(covered) == pytest.approx(float(column.sum()) * 2 / R, abs=2 * 16 * sampler.step_size)


@pytest.mark.parametrize("warmup", [0, 10_000])
def test_a_place_that_became_empty_is_forgotten(warmup: int):
    sampler, random = grid(warmup=warmup), generator()

    def left(x: Tensor) -> Tensor:
        return 20.0 * (x[:, 0] < 0).float()

    def right(x: Tensor) -> Tensor:
        return 20.0 * (x[:, 0] >= 0).float()

    sampler.update(left, 0, random)
    assert sampler.occupied[: R // 2].all()
    assert not sampler.occupied[R // 2 :].any()
    for step in range(16, 16 * 300, 16):
        sampler.update(right, step, random)
    assert not sampler.occupied[: R // 2].any()
    assert sampler.occupied[R // 2 :].all()


def test_a_thin_field_without_contrast_keeps_every_cell():
    sampler, random = grid(), generator()
    noisy = torch.Generator().manual_seed(1)
    for step in range(0, 160, 16):
        sampler.update(lambda x: 1e-3 * (1 + 0.2 * torch.rand(len(x), generator=noisy)), step, random)
    assert sampler.occupied.all()


def test_a_grid_that_went_all_empty_is_looked_at_everywhere_again():
    sampler = grid(warmup=1)
    for step in range(0, 200, 16):
        sampler.update(empty, step, generator())
    assert sampler.estimate.max() == 0
    assert sampler.occupied.all()
    assert len(sampler.sample(rays_along_z(), NOTHING, None)) > 0
    sampler.update(ball, 0, generator())
    assert 0 < sampler.occupied.float().mean() < 0.5


def test_during_warmup_every_estimate_fades_once_an_update():
    sampler, random = grid(decay=0.8, warmup=10_000), generator()
    sampler.update(constant(3.0), 0, random)
    torch.testing.assert_close(sampler.estimate, torch.full((R**3,), 3.0 * sampler.step_size))
    sampler.update(empty, 16, random)
    sampler.update(empty, 32, random)
    torch.testing.assert_close(sampler.estimate, torch.full((R**3,), 3.0 * 0.8**2 * sampler.step_size))


def test_after_warmup_an_estimate_fades_at_most_once_an_update():
    sampler, random = grid(decay=0.8, warmup=0), generator()
    sampler.update(constant(3.0), 0, random)  # cells that were never measured come first
    before = sampler.estimate.clone()
    assert before.isfinite().all()
    sampler.update(empty, 16, random)
    faded = sampler.estimate < before
    torch.testing.assert_close(sampler.estimate[faded], 0.8 * before[faded])
    assert torch.equal(sampler.estimate[~faded], before[~faded])
    # a quarter of the cells at random and a quarter out of the occupied (here: all), both with repetition
    assert 0.3 < float(faded.float().mean()) < 0.5


def test_a_measurement_raises_an_estimate_and_never_lowers_it_below_the_faded_one():
    sampler, random = grid(decay=0.8), generator()
    for step, sigma, expected in ((0, 1.0, 1.0), (16, 5.0, 5.0), (32, 4.5, 4.5), (48, 1.0, 0.8 * 4.5)):
        sampler.update(constant(sigma), step, random)
        torch.testing.assert_close(sampler.estimate, torch.full((R**3,), expected * sampler.step_size))


def test_between_updates_nothing_is_measured():
    sampler = grid(every=4)
    sampler.update(ball, 0, generator())
    before = state(sampler)

    def never(x: Tensor) -> Tensor:
        raise AssertionError("measured")

    for step in (1, 2, 3, 5):
        sampler.update(never, step, generator())
    assert_same_state(before, state(sampler))


def test_evaluation_changes_no_state_and_gives_the_same_samples_again():
    sampler = grid()
    sampler.update(ball, 0, generator())
    before = state(sampler)
    first, again = sampler.sample(rays_along_z(), NOTHING, None), sampler.sample(rays_along_z(), NOTHING, None)
    assert_same_state(before, state(sampler))
    assert torch.equal(first.t_starts, again.t_starts)


def test_training_samples_are_shifted_by_the_generator_alone():
    sampler, random = grid(), generator()
    first, again = sampler.sample(rays_along_z(), NOTHING, random), sampler.sample(rays_along_z(), NOTHING, random)
    repeated = sampler.sample(rays_along_z(), NOTHING, generator())
    assert not torch.equal(first.t_ends[:20], again.t_ends[:20])
    assert torch.equal(first.t_starts, repeated.t_starts)


def test_state_comes_back_from_a_state_dict():
    sampler, random = grid(), generator()
    sampler.update(ball, 0, random)
    for _ in range(30):
        sampler.sample(rays_along_z(), NOTHING, random)
    other = grid()
    other.load_state_dict(sampler.state_dict())
    assert torch.equal(other.occupied, sampler.occupied)
    assert other.max_batch(10**6) == sampler.max_batch(10**6)
    a, b = generator(), generator()
    for step in (0, 256, 512):
        sampler.update(ball, step, a)
        other.update(ball, step, b)
    assert_same_state(state(other), state(sampler))


def test_fewer_rays_are_affordable_where_each_takes_many_samples():
    options = {"samples_per_step": 256, "steps": 64}
    full, sparse = grid(**options), grid(**options)
    sparse.update(ball, 0, generator())
    random = generator()
    for step in range(1, 101):
        for sampler, density in ((full, lambda x: torch.ones(len(x))), (sparse, ball)):
            sampler.sample(rays_along_z(), NOTHING, random)
            sampler.update(density, 16 * step + 1, random)  # what was taken is counted once a step
    # along z a full grid takes 2 / step samples of each ray, and one more for the shift
    steps_per_ray = 2 / full.step_size
    assert 256 / (steps_per_ray + 1) - 1 <= full.max_batch(10**6) <= 256 / steps_per_ray + 1
    assert sparse.max_batch(10**6) > 1.5 * full.max_batch(10**6)
    assert full.max_batch(3) == 3


def test_at_least_one_ray_is_always_affordable():
    sampler = grid(samples_per_step=256, steps=100_000)
    assert sampler.max_batch(4096) == 1


def test_the_grid_follows_a_box_that_is_not_a_cube():
    box = Aabb.of([10, -1, 0], [14, 1, 1])
    sampler = Occupancy(resolution=8, steps=64).build(aabb=box)
    sampler.update(lambda x: 30.0 * ((x[:, 0] > 12) & (x[:, 2] < 0.5)).float(), 0, generator())
    expected = torch.zeros(8, 8, 8, dtype=torch.bool)
    expected[4:, :, :4] = True
    assert torch.equal(sampler.occupied, expected)


def test_a_plane_has_no_occupancy_grid():
    with pytest.raises(ValueError, match="3-D"):
        Occupancy().build(aabb=Aabb.of([0, 0], [1, 1]))
