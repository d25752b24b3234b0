"""The volume renderer on fields whose images are known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fieldengine.ray_samplers.occupancy import Occupancy
from fieldengine.ray_samplers.stratified import Stratified
from fieldengine.renderers.volume import Volume
from fieldengine.types import Aabb, Points, Rays

BOX = Aabb.of([-1, -1, -1], [1, 1, 1])
SIGMA, LOWER, UPPER = 3.0, -0.5, 0.25
LENGTH = UPPER - LOWER
COLOUR, BACKGROUND = torch.tensor([0.2, 0.5, 0.9]), torch.tensor([1.0, 0.8, 0.6])
SAMPLERS = {"stratified": Stratified(n_samples=256), "occupancy": Occupancy(resolution=16, steps=2048)}


def NOTHING(x: Tensor) -> Tensor:  # noqa: N802 - what these samplers do not ask
    return torch.zeros(len(x))


class Slab(nn.Module):
    """Constant density and colour between two planes z; the colour may depend on the direction."""

    def __init__(self, sigma: float = SIGMA):
        super().__init__()
        self.sigma = nn.Parameter(torch.tensor(sigma))
        self.asked = 0

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        within = (x[:, 2] > LOWER) & (x[:, 2] < UPPER)
        return self.sigma * within.float(), x

    def rgb(self, features: Tensor, viewdirs: Tensor, normals: Tensor | None = None) -> Tensor:
        self.asked += len(features)
        return COLOUR * (0.5 + 0.5 * viewdirs[:, 2:].abs())


class Bumps(nn.Module):
    """Density and colour that change everywhere."""

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 4 * torch.sin(5 * x).prod(-1).clamp(min=0), torch.cos(3 * x)

    def rgb(self, features: Tensor, viewdirs: Tensor, normals: Tensor | None = None) -> Tensor:
        return torch.sigmoid(features + viewdirs)


def straight(n: int = 12) -> Rays:
    """Downwards, from z = 2."""
    origins = torch.rand(n, 3, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    origins[:, 2] = 2.0
    return Rays(origins, torch.tensor([0.0, 0.0, -1.0]).expand(n, 3))


def crossing(n: int = 50) -> Rays:
    generator = torch.Generator().manual_seed(1)
    origins = 3 * torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    aims = torch.rand(n, 3, generator=generator) - 0.5
    return Rays(origins, torch.nn.functional.normalize(aims - origins, dim=-1))


def renderer(name: str, field: nn.Module):
    built = Volume(SAMPLERS[name]).build(aabb=BOX)
    built.update(field, 0, torch.Generator().manual_seed(0))
    return built


@pytest.mark.parametrize("jittered", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_slab_has_the_colour_opacity_and_depth_of_the_closed_form(sampler: str, jittered: bool):
    field, n = Slab(), 12
    generator = torch.Generator().manual_seed(2) if jittered else None
    rendered = renderer(sampler, field).render(
        field, straight(n), background=BACKGROUND.expand(n, 3), generator=generator
    )
    through = math.exp(-SIGMA * LENGTH)
    assert rendered.opacity is not None
    assert rendered.depth is not None
    torch.testing.assert_close(rendered.opacity, torch.full((n,), 1 - through), rtol=0, atol=0.01)
    colour = (1 - through) * COLOUR + through * BACKGROUND
    torch.testing.assert_close(rendered.values, colour.expand(n, 3), rtol=0, atol=0.01)
    # the mean of t over [0, L] with density exp(-sigma t), behind the way from z = 2 down to the slab
    depth = (2 - UPPER) + 1 / SIGMA - LENGTH * through / (1 - through)
    torch.testing.assert_close(rendered.depth, torch.full((n,), depth), rtol=0, atol=0.01)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_gradient_of_a_slabs_opacity_is_that_of_the_closed_form(sampler: str):
    field = Slab()
    opacity = renderer(sampler, field).render(field, straight(), background=None, generator=None).opacity
    opacity.mean().backward()
    assert float(field.sigma.grad) == pytest.approx(LENGTH * math.exp(-SIGMA * LENGTH), abs=0.01)


def test_a_slanted_ray_sees_more_of_the_slab():
    direction = torch.nn.functional.normalize(torch.tensor([[0.5, 0.0, -1.0]]), dim=-1)
    ray = Rays(torch.tensor([[-0.8, 0.0, 1.5]]), direction)
    field = Slab()
    opacity = renderer("stratified", field).render(field, ray, background=None, generator=None).opacity
    length = LENGTH / abs(float(direction[0, 2]))
    assert float(opacity.detach()) == pytest.approx(1 - math.exp(-SIGMA * length), abs=0.01)


def test_empty_space_is_left_out_by_the_occupancy_sampler():
    field = Slab()
    samples = renderer("occupancy", field).render(field, straight(), background=None, generator=None).samples
    heights = samples.midpoints(straight())[:, 2]
    assert ((heights > LOWER) & (heights < UPPER)).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rays_that_miss_the_box_return_the_background(sampler: str):
    away = Rays(torch.tensor([[0.0, 0.0, 2.0]] * 3), torch.tensor([[0.0, 0.0, 1.0]] * 3))
    field = Slab()
    for enabled in (False, True):
        with torch.set_grad_enabled(enabled):
            rendered = renderer(sampler, field).render(field, away, background=BACKGROUND.expand(3, 3), generator=None)
        assert torch.equal(rendered.values, BACKGROUND.expand(3, 3))
        assert torch.equal(rendered.opacity, torch.zeros(3))
        assert torch.equal(rendered.depth, torch.zeros(3))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_without_gradient_the_image_is_the_same_up_to_the_colour_of_what_is_hidden(sampler: str):
    field, rays = Bumps(), crossing()
    rendering = renderer(sampler, field)
    background = torch.ones(len(rays), 3)
    full = rendering.render(field, rays, background=background, generator=None)
    with torch.no_grad():
        fast = rendering.render(field, rays, background=background, generator=None)
    assert torch.equal(full.opacity, fast.opacity)
    assert torch.equal(full.depth, fast.depth)
    assert torch.equal(full.weights, fast.weights)
    hidden = torch.where(full.weights <= 1e-4, full.weights, torch.zeros_like(full.weights))
    allowed = torch.zeros(len(rays)).index_add(0, full.samples.ray_indices, hidden) + 1e-6
    assert ((full.values - fast.values).abs() <= allowed[:, None]).all()
    assert not torch.equal(full.values, fast.values)


def test_without_gradient_the_colour_of_what_is_hidden_is_not_computed():
    field = Slab(sigma=1e4)
    rendering = renderer("stratified", field)
    with torch.no_grad():
        rendered = rendering.render(field, straight(5), background=None, generator=None)
    assert field.asked == 5  # the first sample inside is opaque
    torch.testing.assert_close(rendered.values, COLOUR.expand(5, 3))


@pytest.mark.parametrize("chunk", [1, 1000])
def test_how_many_samples_are_asked_for_in_one_go_changes_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int):
    field, rays = Bumps(), crossing(5)
    rendering = renderer("stratified", field)
    with torch.no_grad():
        whole = rendering.render(field, rays, background=None, generator=None)
        monkeypatch.setattr("fieldengine.renderers.volume.CHUNK", chunk)
        parts = rendering.render(field, rays, background=None, generator=None)
    torch.testing.assert_close(parts.values, whole.values, rtol=0, atol=1e-6)
    torch.testing.assert_close(parts.weights, whole.weights, rtol=0, atol=1e-6)


def test_the_direction_reaches_the_colour():
    field = Slab(sigma=1e4)
    rendering = renderer("stratified", field)
    direction = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0, -1.0]]), dim=-1)
    slanted = Rays(torch.tensor([[-0.8, 0.0, 0.9]]), direction)
    values = rendering.render(field, slanted, background=None, generator=None).values
    torch.testing.assert_close(values[0], COLOUR * (0.5 + 0.5 * math.sqrt(0.5)))


def test_stratified_intervals_cover_each_ray_through_the_box_in_order():
    sampler = Stratified(n_samples=16).build(aabb=BOX)
    rays = crossing()
    for generator in (None, torch.Generator().manual_seed(3)):
        samples = sampler.sample(rays, NOTHING, generator)
        t0, t1 = samples.t_starts.view(-1, 16), samples.t_ends.view(-1, 16)
        assert len(t0) == len(rays)
        assert torch.equal(t0[:, 1:], t1[:, :-1])
        assert (t1 > t0).all()
        for ends in (t0[:, 0], t1[:, -1]):  # the first and the last border lie on the box
            x = rays.origins + ends[:, None] * rays.viewdirs
            torch.testing.assert_close(x.abs().amax(-1), torch.ones(len(rays)), rtol=0, atol=1e-5)


def test_stratified_jitter_moves_inner_borders_by_at_most_half_an_interval():
    sampler = Stratified(n_samples=8).build(aabb=BOX)
    rays = straight(200)
    fixed = sampler.sample(rays, NOTHING, None).t_starts.view(-1, 8)[:, 1:]
    shift = (sampler.sample(rays, NOTHING, torch.Generator().manual_seed(4)).t_starts.view(-1, 8)[:, 1:] - fixed) / (
        2 / 8
    )
    assert shift.abs().max() <= 0.5 + 1e-4
    assert shift.min() < -0.45
    assert shift.max() > 0.45


def test_one_stratified_sample_is_the_whole_way_through_the_box():
    samples = Stratified(n_samples=1).build(aabb=BOX).sample(straight(3), NOTHING, torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.t_starts, torch.ones(3))
    torch.testing.assert_close(samples.t_ends, torch.full((3,), 3.0))


def test_nothing_is_sampled_closer_than_near():
    for options in (Stratified(n_samples=16, near=1.75), Occupancy(resolution=4, steps=64, near=1.75)):
        samples = options.build(aabb=BOX).sample(straight(), NOTHING, torch.Generator().manual_seed(0))
        assert float(samples.t_starts.min()) == pytest.approx(1.75)


def test_points_and_fields_without_density_are_refused_before_any_work():
    rendering = Volume(SAMPLERS["stratified"]).build(aabb=BOX)
    rendering.check(Slab(), Rays)
    with pytest.raises(ValueError, match=r"takes rays.*points"):
        rendering.check(Slab(), Points)
    with pytest.raises(ValueError, match=r"density\(x\).*Linear lacks"):
        rendering.check(nn.Linear(3, 3), Rays)


def test_the_samplers_state_is_part_of_the_renderers():
    field = Slab()
    rendering = renderer("occupancy", field)
    other = Volume(SAMPLERS["occupancy"]).build(aabb=BOX)
    other.load_state_dict(rendering.state_dict())
    assert torch.equal(other.sampler.occupied, rendering.sampler.occupied)
    assert not other.sampler.occupied.all()
