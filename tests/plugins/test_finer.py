"""FINER: the activation, the two gradients it can have, and where the wide bias goes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fieldengine_plugins.activations.finer import Finer


def linear_of(layer: nn.Module) -> nn.Linear:
    (linear,) = [module for module in layer.modules() if isinstance(module, nn.Linear)]
    return linear


def of_its_input(layer: nn.Module) -> nn.Module:
    """A layer of one input and one output, its linear map replaced by the identity."""
    with torch.no_grad():
        linear_of(layer).weight.fill_(1.0)
        linear_of(layer).bias.zero_()
    return layer.double()


def inputs() -> Tensor:
    return torch.cat([torch.linspace(-2, 2, 41), torch.tensor([0.0, -0.0])]).double()[:, None]


def slope(layer: nn.Module, u: Tensor) -> Tensor:
    u = u.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(u).sum(), u)
    return gradient


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_the_activation_is_the_sine_of_omega_u_times_one_plus_its_modulus(gradient, is_first: bool):
    layer = of_its_input(Finer(omega=9, first_omega=4, gradient=gradient).hidden(1, 1, is_first=is_first))
    u, omega = inputs(), 4 if is_first else 9
    torch.testing.assert_close(layer(u), torch.sin(omega * (u.abs() + 1) * u))


@pytest.mark.parametrize("is_first", [True, False])
def test_the_detached_gradient_takes_the_modulus_for_a_constant(is_first: bool):
    layer = of_its_input(Finer(omega=9, first_omega=4).hidden(1, 1, is_first=is_first))
    u, omega = inputs(), 4 if is_first else 9
    torch.testing.assert_close(slope(layer, u), omega * (u.abs() + 1) * torch.cos(omega * (u.abs() + 1) * u))


@pytest.mark.parametrize("is_first", [True, False])
def test_the_full_gradient_is_the_derivative(is_first: bool):
    layer = of_its_input(Finer(omega=9, first_omega=4, gradient="full").hidden(1, 1, is_first=is_first))
    u, omega = inputs(), 4 if is_first else 9
    expected = omega * (2 * u.abs() + 1) * torch.cos(omega * (u.abs() + 1) * u)
    torch.testing.assert_close(slope(layer, u), expected)
    away = inputs()[:8].requires_grad_()
    assert torch.autograd.gradcheck(layer, away)


def assert_uniform(values: Tensor, bound: float) -> None:
    """All within the bound, close to it at both ends, and with the variance of a uniform distribution."""
    values = values.detach()
    assert values.abs().max() <= bound * (1 + 1e-6)
    assert values.max() > 0.97 * bound
    assert values.min() < -0.97 * bound
    assert float(values.var()) == pytest.approx(bound**2 / 3, rel=0.1)


@pytest.mark.parametrize("bias", [0.3, 5.0])
def test_only_the_first_layers_bias_has_the_range_asked_for(bias: float):
    torch.manual_seed(0)
    finer = Finer(bias=bias)
    assert_uniform(linear_of(finer.hidden(2, 5000, is_first=True)).bias, bias)
    assert_uniform(linear_of(finer.hidden(64, 5000, is_first=False)).bias, 1 / 8)
    assert_uniform(linear_of(finer.output(64, 5000)).bias, 1 / 8)


def test_a_bias_of_zero_leaves_none_in_the_first_layer():
    assert not linear_of(Finer(bias=0.0).hidden(2, 100, is_first=True)).bias.any()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_by_default_the_first_bias_is_uniform_up_to_one_over_sqrt_d(dim: int):
    torch.manual_seed(0)
    assert_uniform(linear_of(Finer().hidden(dim, 5000, is_first=True)).bias, 1 / math.sqrt(dim))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_first_weights_are_uniform_up_to_one_over_d(dim: int):
    torch.manual_seed(0)
    assert_uniform(linear_of(Finer().hidden(dim, 2000, is_first=True)).weight, 1 / dim)


def test_hidden_and_last_weights_are_uniform_up_to_sqrt_six_over_n_over_omega():
    torch.manual_seed(0)
    finer, bound = Finer(omega=20, first_omega=50), math.sqrt(6 / 100) / 20
    assert_uniform(linear_of(finer.hidden(100, 200, is_first=False)).weight, bound)
    assert_uniform(linear_of(finer.output(100, 200)).weight, bound)
