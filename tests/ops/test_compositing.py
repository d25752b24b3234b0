"""Sums over packed samples, weights and compositing against loops over rays and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fieldengine.ops import (
    argmax_by_ray,
    composite,
    exclusive_sum,
    sum_by_ray,
    weights_from_alpha,
    weights_from_density,
)
from fieldengine.types import Samples

COUNTS = (3, 0, 1, 5, 0, 0, 2, 0)  # samples of each ray, among them rays with none at the start, middle and end


def random_samples(counts: tuple[int, ...] = COUNTS, dtype: torch.dtype = torch.float64) -> Samples:
    """Intervals of random length with random gaps between them."""
    generator = torch.Generator().manual_seed(3)
    ray_indices = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.int64))
    borders = torch.rand(2 * len(ray_indices), dtype=dtype, generator=generator).cumsum(0)
    return Samples(borders[::2], borders[1::2], ray_indices, len(counts))


def random_sigma(samples: Samples, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return scale * torch.rand(len(samples), dtype=samples.t_starts.dtype, generator=generator)


def loop(samples: Samples, sigma: Tensor, rgb: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights, colour, opacity and depth ray by ray and sample by sample; autograd sees every operation."""
    weights, colours, opacities, depths = [], [], [], []
    for ray in range(samples.n_rays):
        depth_before = torch.zeros((), dtype=sigma.dtype)
        colour, opacity, depth = torch.zeros_like(background[ray]), 0 * depth_before, 0 * depth_before
        for i in torch.nonzero(samples.ray_indices == ray)[:, 0].tolist():
            thick = sigma[i] * (samples.t_ends[i] - samples.t_starts[i])
            weight = torch.exp(-depth_before) * (1 - torch.exp(-thick))
            depth_before = depth_before + thick
            colour, opacity = colour + weight * rgb[i], opacity + weight
            depth = depth + weight * (samples.t_starts[i] + samples.t_ends[i]) / 2
            weights.append(weight)
        colours.append(colour + (1 - opacity) * background[ray])
        opacities.append(opacity)
        depths.append(depth / opacity if float(opacity.detach()) > 0 else depth)
    return torch.stack(weights), torch.stack(colours), torch.stack(opacities), torch.stack(depths)


def test_exclusive_sum_adds_what_came_before_on_the_same_ray():
    samples, values = random_samples(), random_sigma(random_samples())
    expected = [
        sum(float(values[j]) for j in range(i) if samples.ray_indices[j] == samples.ray_indices[i])
        for i in range(len(samples))
    ]
    summed = exclusive_sum(values, samples.ray_indices, samples.n_rays)
    torch.testing.assert_close(summed, torch.tensor(expected, dtype=torch.float64))


def test_exclusive_sum_keeps_its_precision_behind_many_rays():
    rays, per_ray = 100_000, 8
    values = 1e3 * torch.rand(rays, per_ray, generator=torch.Generator().manual_seed(0))
    values[-1] *= 1e-6
    expected = (values.double().cumsum(1) - values.double()).float()
    indices = torch.arange(rays).repeat_interleave(per_ray)
    summed = exclusive_sum(values.view(-1), indices, rays).view(rays, per_ray)
    torch.testing.assert_close(summed[-1], expected[-1], rtol=1e-3, atol=0)
    torch.testing.assert_close(summed[:-1], expected[:-1], rtol=1e-5, atol=1e-5)


def test_sum_by_ray_adds_each_rays_rows_and_gives_zero_where_there_are_none():
    samples = random_samples()
    values = torch.randn(len(samples), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    summed = sum_by_ray(values, samples.ray_indices, samples.n_rays)
    for ray, count in enumerate(COUNTS):
        rows = values[samples.ray_indices == ray]
        assert len(rows) == count
        torch.testing.assert_close(summed[ray], rows.sum(0))


def test_sums_are_those_of_finite_differences_in_their_gradients():
    samples = random_samples()
    values = random_sigma(samples).requires_grad_()
    for op in (exclusive_sum, sum_by_ray):
        assert torch.autograd.gradcheck(lambda v, op=op: op(v, samples.ray_indices, samples.n_rays), values)


def test_weights_colour_opacity_and_depth_equal_a_loop_over_rays():
    samples = random_samples()
    sigma, rgb = random_sigma(samples, scale=3.0), torch.rand(len(samples), 3, dtype=torch.float64)
    background = torch.rand(samples.n_rays, 3, dtype=torch.float64)
    weights = weights_from_density(samples, sigma)
    colour, opacity, depth = composite(samples, weights, rgb, background)
    expected = loop(samples, sigma, rgb, background)
    for found, wanted in zip((weights, colour, opacity, depth), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_gradients_equal_those_of_a_loop_over_rays(scale: float):
    samples = random_samples()
    rgb = torch.rand(len(samples), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    background = torch.full((samples.n_rays, 3), 0.3, dtype=torch.float64)

    def gradients(packed: bool) -> tuple[Tensor, ...]:
        sigma, colours = random_sigma(samples, scale).requires_grad_(), rgb.clone().requires_grad_()
        if packed:
            outputs = composite(samples, weights_from_density(samples, sigma), colours, background)
        else:
            outputs = loop(samples, sigma, colours, background)[1:]
        loss = sum((k + 1) * (part**2).sum() for k, part in enumerate(outputs))
        return torch.autograd.grad(loss, [sigma, colours])

    for found, wanted in zip(gradients(packed=True), gradients(packed=False), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("sigma", [1e4, 1e10, 5e34])
def test_an_opaque_sample_hides_what_lies_behind_with_finite_gradients(sigma: float):
    samples = random_samples((4, 4), dtype=torch.float32)
    density = torch.tensor([0.0, sigma, sigma, 1.0, sigma, sigma, sigma, sigma], requires_grad=True)
    rgb = torch.rand(8, 3, generator=torch.Generator().manual_seed(7)).requires_grad_()
    colour, opacity, depth = composite(samples, weights_from_density(samples, density), rgb, torch.ones(2, 3))
    torch.testing.assert_close(colour, rgb[[1, 4]])
    torch.testing.assert_close(opacity, torch.ones(2))
    middles = 0.5 * (samples.t_starts + samples.t_ends)
    torch.testing.assert_close(depth, middles[[1, 4]])
    for gradient in torch.autograd.grad(colour.sum() + opacity.sum() + depth.sum(), [density, rgb]):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("sigma", [1e10, 1e17, 5e34])
def test_an_opaque_ray_leaves_the_next_ray_as_it_was(sigma: float):
    indices = torch.tensor([0, 1, 1, 1])
    starts = torch.tensor([0.0, 0.0, 1.0, 2.0])
    weights = weights_from_density(Samples(starts, starts + 1, indices, 2), torch.tensor([sigma, 0.1, 0.2, 0.3]))
    alone = weights_from_density(Samples(starts[1:], starts[1:] + 1, indices[1:] - 1, 1), torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(weights[1:], alone)


@given(st.floats(0, 50), st.floats(0.01, 4), st.integers(1, 40))
@settings(deadline=None, max_examples=50)
def test_a_slab_of_constant_density_lets_through_exp_of_minus_sigma_times_length(
    sigma: float, length: float, cuts: int
):
    borders = torch.linspace(1.0, 1.0 + length, cuts + 1)
    samples = Samples(borders[:-1], borders[1:], torch.zeros(cuts, dtype=torch.int64), 1)
    weights = weights_from_density(samples, torch.full((cuts,), sigma))
    colour, opacity, _ = composite(samples, weights, torch.full((cuts, 3), 0.25), torch.ones(1, 3))
    through = math.exp(-sigma * length)
    torch.testing.assert_close(opacity, torch.tensor([1 - through]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(colour, torch.full((1, 3), 0.25 * (1 - through) + through), rtol=1e-4, atol=1e-6)


ray = st.lists(st.tuples(st.floats(0, 1e4, width=32), st.floats(0, 10, width=32)), max_size=8)


@given(st.lists(ray, min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_weights_and_remaining_transmittance_add_up_to_one(rays: list[list[tuple[float, float]]]):
    sigma = torch.tensor([sigma for samples in rays for sigma, _ in samples])
    delta = torch.tensor([delta for samples in rays for _, delta in samples])
    indices = torch.repeat_interleave(torch.arange(len(rays)), torch.tensor([len(samples) for samples in rays]))
    weights = weights_from_density(Samples(torch.zeros_like(delta), delta, indices, len(rays)), sigma)
    assert (weights >= 0).all()
    opacity = sum_by_ray(weights, indices, len(rays))
    through = torch.tensor([math.exp(-sum(sigma * delta for sigma, delta in samples)) for samples in rays])
    torch.testing.assert_close(opacity + through, torch.ones(len(rays)), rtol=0, atol=1e-5)


def test_rays_without_samples_return_the_background_at_depth_zero():
    samples = random_samples(dtype=torch.float32)
    background = torch.rand(samples.n_rays, 3)
    weights = weights_from_density(samples, random_sigma(samples))
    colour, opacity, depth = composite(samples, weights, torch.rand(len(samples), 3), background)
    empty = torch.tensor(COUNTS) == 0
    torch.testing.assert_close(colour[empty], background[empty], rtol=0, atol=0)
    assert not opacity[empty].any()
    assert not depth[empty].any()
    assert (opacity[~empty] > 0).all()


def test_without_background_what_is_not_hit_is_black():
    samples = random_samples(dtype=torch.float32)
    weights = weights_from_density(samples, random_sigma(samples))
    rgb = torch.rand(len(samples), 3)
    colour, _, _ = composite(samples, weights, rgb, None)
    torch.testing.assert_close(colour, composite(samples, weights, rgb, torch.zeros(samples.n_rays, 3))[0])
    assert not colour[torch.tensor(COUNTS) == 0].any()


@pytest.mark.parametrize("n_rays", [0, 3])
def test_no_samples_at_all_are_composited_too(n_rays: int):
    samples = random_samples((0,) * n_rays, dtype=torch.float32)
    weights = weights_from_density(samples, torch.zeros(0))
    colour, opacity, depth = composite(samples, weights, torch.zeros(0, 3), torch.ones(n_rays, 3))
    assert weights.shape == (0,)
    assert torch.equal(colour, torch.ones(n_rays, 3))
    assert torch.equal(opacity, torch.zeros(n_rays))
    assert torch.equal(depth, torch.zeros(n_rays))


def test_weights_from_alpha_are_the_shares_that_reach_each_sample():
    samples = random_samples()
    alpha = random_sigma(samples)
    for ray in range(samples.n_rays):
        mine = samples.ray_indices == ray
        left = torch.cumprod(torch.cat([torch.ones(1, dtype=torch.float64), 1 - alpha[mine]]), 0)[:-1]
        torch.testing.assert_close(weights_from_alpha(samples, alpha)[mine], left * alpha[mine])


def test_weights_from_density_are_those_of_its_alpha():
    samples = random_samples()
    sigma = random_sigma(samples, 3.0)
    alpha = 1 - torch.exp(-sigma * (samples.t_ends - samples.t_starts))
    torch.testing.assert_close(weights_from_alpha(samples, alpha), weights_from_density(samples, sigma))


def test_the_gradient_at_full_opacity_is_that_of_finite_differences():
    samples = random_samples()
    alpha = 0.9 * random_sigma(samples)
    alpha[[0, 4, 5, 8]] = 1.0  # first, inner, two in a row, last of a ray
    way = torch.randn(len(samples), dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    leaf = alpha.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((way * weights_from_alpha(samples, leaf)).sum(), leaf)
    for i in range(len(samples)):
        less = alpha.clone()
        less[i] -= 1e-6  # weights are linear in each alpha, so a one-sided difference is exact but for rounding
        slope = (way * (weights_from_alpha(samples, alpha) - weights_from_alpha(samples, less))).sum() / 1e-6
        assert float(gradient[i]) == pytest.approx(float(slope), abs=1e-7)


def test_the_largest_sample_of_each_ray_is_named_and_none_is_minus_one():
    samples = random_samples()
    values = torch.tensor([0.0, 2.0, 2.0, -5.0, -3.0, -4.0, -3.0, -9.0, -9.0, 1.0, 7.0], dtype=torch.float64)
    found = argmax_by_ray(values, samples.ray_indices, samples.n_rays)
    assert found.tolist() == [1, -1, 3, 4, -1, -1, 10, -1]
