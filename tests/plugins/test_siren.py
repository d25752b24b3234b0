"""SIREN: the ranges weights and biases are drawn from, and the signal's size from layer to layer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fieldengine_plugins.activations.siren import Siren


def linear_of(layer: nn.Module) -> nn.Linear:
    (linear,) = [module for module in layer.modules() if isinstance(module, nn.Linear)]
    return linear


def assert_uniform(values: Tensor, bound: float) -> None:
    """All within the bound, close to it at both ends, and with the variance of a uniform distribution."""
    values = values.detach()
    assert values.abs().max() <= bound * (1 + 1e-6)
    assert values.max() > 0.97 * bound
    assert values.min() < -0.97 * bound
    assert float(values.var()) == pytest.approx(bound**2 / 3, rel=0.1)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_first_weights_are_uniform_up_to_one_over_d(dim: int):
    torch.manual_seed(0)
    assert_uniform(linear_of(Siren().hidden(dim, 2000, is_first=True)).weight, 1 / dim)


def test_hidden_and_last_weights_are_uniform_up_to_sqrt_six_over_n_over_omega():
    torch.manual_seed(0)
    siren = Siren(omega=20, first_omega=50)
    bound = math.sqrt(6 / 100) / 20
    assert_uniform(linear_of(siren.hidden(100, 200, is_first=False)).weight, bound)
    assert_uniform(linear_of(siren.output(100, 200)).weight, bound)


def test_biases_are_torchs_or_drawn_like_the_weights():
    torch.manual_seed(0)
    for bias in ("torch", "weight"):
        siren = Siren(bias=bias)
        layers = [
            (siren.hidden(4, 5000, is_first=True), 1 / 4),
            (siren.hidden(64, 5000, is_first=False), math.sqrt(6 / 64) / 30),
            (siren.output(64, 5000), math.sqrt(6 / 64) / 30),
        ]
        for layer, bound in layers:
            linear = linear_of(layer)
            assert_uniform(linear.bias, bound if bias == "weight" else 1 / math.sqrt(linear.in_features))


@pytest.mark.parametrize("is_first", [True, False])
def test_a_layer_is_the_sine_of_omega_times_a_linear_map(is_first: bool):
    layer = Siren(omega=20, first_omega=7).hidden(3, 10, is_first=is_first)
    x = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = torch.sin((7 if is_first else 20) * (x @ layer.weight.t() + layer.bias))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("omega", [10.0, 30.0])
def test_the_signal_keeps_its_size_from_layer_to_layer(omega: float):
    torch.manual_seed(0)
    siren, width = Siren(omega=omega, first_omega=30, bias="weight"), 512
    h = siren.hidden(2, width, is_first=True)(torch.rand(2000, 2) * 2 - 1)
    # a sine of a wide phase has variance 1/2; then a phase has variance 2 var(h), and its sine (1 - exp(-2 var)) / 2
    variance = 0.5
    for _ in range(6):
        layer = siren.hidden(width, width, is_first=False)
        phase = omega * (h @ layer.weight.t() + layer.bias)
        assert float(phase.detach().var()) == pytest.approx(2 * variance, rel=0.1)
        h, variance = layer(h), (1 - math.exp(-4 * variance)) / 2
        assert float(h.detach().var()) == pytest.approx(variance, rel=0.1)
    assert 0.35 < variance < 0.45
