"""Real spherical harmonics: closed forms of the first degrees, orthonormality by quadrature, and no pole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fieldengine_plugins.encodings.spherical_harmonics import SphericalHarmonics


def directions(m: int = 100) -> Tensor:
    x = torch.randn(m, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1)


def quadrature(n: int) -> tuple[Tensor, Tensor]:
    """Directions and weights that integrate every polynomial of degree 2n - 1 over the sphere exactly."""
    z, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(n))
    azimuth = torch.arange(2 * n, dtype=torch.float64) * (math.pi / n)
    ring = torch.sqrt(1 - z**2)[:, None]
    points = torch.stack([ring * azimuth.cos(), ring * azimuth.sin(), z[:, None].expand(n, 2 * n)], -1)
    return points.view(-1, 3), (weight[:, None] * (math.pi / n)).expand(n, 2 * n).reshape(-1)


def test_the_first_nine_are_the_closed_forms():
    x, y, z = directions().unbind(-1)
    one, pi = torch.ones_like(x), math.pi
    expected = [
        math.sqrt(1 / (4 * pi)) * one,
        math.sqrt(3 / (4 * pi)) * y,
        math.sqrt(3 / (4 * pi)) * z,
        math.sqrt(3 / (4 * pi)) * x,
        math.sqrt(15 / (4 * pi)) * x * y,
        math.sqrt(15 / (4 * pi)) * y * z,
        math.sqrt(5 / (16 * pi)) * (3 * z**2 - 1),
        math.sqrt(15 / (4 * pi)) * x * z,
        math.sqrt(15 / (16 * pi)) * (x**2 - y**2),
    ]
    found = SphericalHarmonics(degree=4).build(3)(directions())
    torch.testing.assert_close(found[:, :9], torch.stack(expected, -1))


@pytest.mark.parametrize("degree", [1, 4, 10])
def test_they_are_orthonormal_on_the_sphere(degree: int):
    module = SphericalHarmonics(degree=degree).build(3)
    assert module.out_dim == degree**2
    points, weights = quadrature(degree + 1)
    assert float(weights.sum()) == pytest.approx(4 * math.pi)
    values = module(points)
    gram = values.T @ (weights[:, None] * values)
    torch.testing.assert_close(gram, torch.eye(degree**2, dtype=torch.float64), rtol=0, atol=1e-9)


def test_the_squares_of_each_degree_add_up_to_the_same_in_every_direction():
    values = SphericalHarmonics(degree=6).build(3)(directions())
    for ell in range(6):
        energy = values[:, ell**2 : (ell + 1) ** 2].square().sum(-1)
        torch.testing.assert_close(energy, torch.full_like(energy, (2 * ell + 1) / (4 * math.pi)))


def test_a_smaller_degree_is_the_beginning_of_a_larger_one():
    small, large = SphericalHarmonics(degree=3).build(3), SphericalHarmonics(degree=8).build(3)
    torch.testing.assert_close(small(directions()), large(directions())[:, :9])


@pytest.mark.parametrize("z", [-1.0, 1.0])
def test_there_is_no_pole(z: float):
    module = SphericalHarmonics(degree=10).build(3)
    pole = torch.tensor([[0.0, 0.0, z], [-0.0, -0.0, z]], requires_grad=True)
    values = module(pole)
    # at the poles only the functions of order 0 are left, sqrt((2l + 1) / 4 pi) z^l
    expected = torch.zeros(100)
    for ell in range(10):
        expected[ell * ell + ell] = math.sqrt((2 * ell + 1) / (4 * math.pi)) * z**ell
    torch.testing.assert_close(values, expected.expand(2, 100), rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(values.sum(), pole)
    near = torch.tensor([[1e-4, 1e-4, z]], requires_grad=True)
    (expected_gradient,) = torch.autograd.grad(module(near).sum(), near)
    torch.testing.assert_close(gradient, expected_gradient.expand(2, 3), rtol=0.02, atol=0.1)


def test_gradients_are_those_of_finite_differences():
    module = SphericalHarmonics(degree=5).build(3)
    assert torch.autograd.gradcheck(module, directions(4).requires_grad_())


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_other_than_three_dimensions_are_refused(dim: int):
    with pytest.raises(ValueError, match=f"3-D direction, not {dim}-D"):
        SphericalHarmonics().build(dim)
