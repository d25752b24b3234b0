"""WIRE and FINER++ Wavelet against complex arithmetic, as the papers write them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from fieldengine.fields.mlp import MLP
from fieldengine.ops import ComplexDense, RealPart
from fieldengine_plugins.activations.chebyshev import Chebyshev
from fieldengine_plugins.activations.finer_wavelet import FinerWavelet
from fieldengine_plugins.activations.wire import Wire

ACTIVATIONS = [
    Wire(),
    Wire(omega=5, scale=4, init="sine"),
    FinerWavelet(),
    FinerWavelet(gradient="full", bias=None, init="torch"),
]


def in_complex_arithmetic(activation: Wire | FinerWavelet, u: Tensor) -> Tensor:
    if isinstance(activation, Wire):
        return torch.exp(1j * activation.omega * u - (activation.scale * u.abs()) ** 2)
    growth = torch.complex(u.real.abs() + 1, u.imag.abs() + 1)
    growth = growth if activation.gradient == "full" else growth.detach()
    s = torch.sin(activation.omega * torch.complex(growth.real * u.real, growth.imag * u.imag))
    return torch.exp(1j * activation.omega_w * s - (activation.scale * s.abs()) ** 2)


def answer(activation: Wire | FinerWavelet, mlp: MLP, x: Tensor) -> Tensor:
    """The network again, of complex tensors in double precision."""
    z = x.to(torch.complex128)
    for layer in mlp.layers[:-1]:
        assert isinstance(layer, ComplexDense)
        weight, bias = layer.weight.double(), layer.bias.double()
        is_real = len(weight) == 1
        w = torch.complex(weight[0], torch.zeros_like(weight[0]) if is_real else weight[1])
        b = torch.complex(bias[0], torch.zeros_like(bias[0]) if is_real else bias[1])
        z = in_complex_arithmetic(activation, z @ w.t() + b)
    last = mlp.layers[-1]
    assert isinstance(last, RealPart)
    return (z @ torch.complex(*last.weight.double()).t()).real + last.bias.double()


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("n", [50, 5000])  # few numbers go through torch, many through the kernels
def test_values_and_gradients_are_those_of_complex_arithmetic(activation: Wire | FinerWavelet, n: int):
    torch.manual_seed(0)
    mlp = MLP(2, 3, width=64, depth=3, activation=activation)
    x = torch.rand(n, 2) * 2 - 1
    found, wanted = mlp(x), answer(activation, mlp, x)
    error = (found - wanted).abs().detach()
    assert float(error.max()) < 1e-3  # phases of float32 in four layers
    assert float(error.mean()) < 5e-5
    parameters = list(mlp.parameters())
    g = torch.randn_like(found)
    gradients = torch.autograd.grad(found, parameters, g)
    for a, b in zip(gradients, torch.autograd.grad(wanted, parameters, g.double()), strict=True):
        assert float((a - b).abs().max()) < 1e-3 * float(b.abs().max())


@pytest.mark.parametrize("activation", [Wire(), Wire(init="sine"), FinerWavelet(gradient="full")], ids=str)
def test_the_slope_in_the_coordinates_is_that_of_the_values(activation: Wire | FinerWavelet):
    torch.manual_seed(0)
    mlp = MLP(2, 1, width=32, depth=2, activation=activation).double()
    assert torch.autograd.gradcheck(mlp, (torch.rand(5, 2, dtype=torch.float64) - 0.5).requires_grad_())


def test_far_out_values_and_gradients_are_finite():
    for activation in ACTIVATIONS:
        layer = activation.hidden(64, 64, is_first=False)
        function, constants = layer.function, layer.constants
        numbers = torch.tensor([0.0, 1e-6, 1, -1, 30, -30, 1e4, -1e4])
        a, b = (torch.tensor(p) for p in zip(*itertools.product(numbers.tolist(), repeat=2), strict=True))
        one = torch.ones_like(a)
        for part in (*function.value(a, b, *constants), *function.pullback(a, b, one, -one, *constants)):
            assert part.isfinite().all()


@pytest.mark.parametrize("activation", [Wire(), FinerWavelet()], ids=str)
def test_a_network_has_about_as_many_parameters_as_a_real_one(activation: Wire | FinerWavelet):
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    mlp = MLP(2, 3, width=362, depth=4, activation=activation)
    assert mlp(torch.zeros(5, 2)).shape == (5, 3)
    real = 2 * 256 + 3 * 256**2 + 3 * 256
    assert count(mlp) == pytest.approx(real, rel=0.02)


def test_weights_have_the_ranges_of_the_papers_code():
    torch.manual_seed(0)
    n = 512
    for activation, bound in (
        (Wire(), n**-0.5),
        (Wire(init="sine"), (6 / n) ** 0.5 / 20),
        (FinerWavelet(), (6 / n) ** 0.5 / 20),
    ):
        for layer in (activation.hidden(1024, 1024, is_first=False), activation.output(1024, 900)):
            for part in layer.weight:
                assert 0.99 * bound < float(part.detach().abs().max()) <= bound * (1 + 1e-6)
    first = FinerWavelet(bias=0.3).hidden(2, 4000, is_first=True)
    assert 0.49 < float(first.weight.detach().abs().max()) <= 0.5
    assert 0.29 < float(first.bias.detach().abs().max()) <= 0.3


def test_a_width_that_cannot_be_halved_is_refused():
    for activation in (Wire(), FinerWavelet()):
        with pytest.raises(ValueError, match="width 181 cannot be halved into real and imaginary parts; take an even"):
            activation.hidden(2, 181, is_first=True)
    with pytest.raises(ValueError, match="width 7 cannot be halved"):
        Chebyshev().hidden(2, 7, is_first=True)


def test_a_wave_that_runs_over_is_refused():
    with pytest.raises(ValueError, match=r"more than a float32 holds; take a scale of at least 1\.7"):
        Wire(omega=30, scale=0.5)
