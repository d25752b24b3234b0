"""Random Fourier features: what they are, and the kernel they approximate."""

from __future__ import annotations

import math

import pytest
import torch

from fieldengine_plugins.encodings.fourier import Fourier, FourierModule


def module(n_features: int = 64, sigma: float = 10.0, dim: int = 2) -> FourierModule:
    torch.manual_seed(0)
    built = Fourier(n_features=n_features, sigma=sigma).build(dim)
    assert isinstance(built, FourierModule)
    return built


def positions(m: int = 30, dim: int = 2) -> torch.Tensor:
    return torch.rand(m, dim, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_sines_come_before_cosines_of_the_same_phases():
    fourier, x = module(), positions()
    sines, cosines = fourier(x).chunk(2, dim=-1)
    phase = x @ fourier.projection.T
    torch.testing.assert_close(sines, torch.sin(phase))
    torch.testing.assert_close(cosines, torch.cos(phase))


def test_every_position_has_the_same_length():
    torch.testing.assert_close(module()(positions()).square().sum(-1), torch.full((30,), 32.0))


@pytest.mark.parametrize("sigma", [0.3, 10.0])
def test_the_mean_product_of_two_positions_is_the_gaussian_kernel_of_their_distance(sigma: float):
    fourier = module(n_features=40_000, sigma=sigma)
    a = positions()
    b = a + torch.linspace(0, 0.4 / sigma, 30)[:, None] * torch.tensor([0.6, -0.8])
    found = (fourier(a) * fourier(b)).sum(-1) / 20_000
    # the mean of cos(2 pi B d) over B ~ N(0, sigma^2)
    expected = torch.exp(-2 * (math.pi * sigma) ** 2 * (a - b).square().sum(-1))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
    assert expected[-1] < 0.1


def test_the_matrix_is_saved_with_the_module_and_not_trained():
    fourier = module()
    assert set(fourier.state_dict()) == {"projection"}
    assert not list(fourier.parameters())
    assert fourier.projection.shape == (32, 2)
