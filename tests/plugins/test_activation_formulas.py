"""Activations of real numbers against their papers' formulas, value and slope, and the ranges they are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fieldengine.fields.mlp import MLP
from fieldengine.ops import pointwise
from fieldengine_plugins.activations.chebyshev import Chebyshev
from fieldengine_plugins.activations.finer import Finer
from fieldengine_plugins.activations.finer_gauss import FinerGauss
from fieldengine_plugins.activations.finer_wavelet import FinerWavelet
from fieldengine_plugins.activations.gauss import Gauss
from fieldengine_plugins.activations.hosc import Hosc
from fieldengine_plugins.activations.raised_cosine import RaisedCosine
from fieldengine_plugins.activations.relu import Relu
from fieldengine_plugins.activations.sinc import Sinc
from fieldengine_plugins.activations.siren import Siren

Paper = Callable[[Tensor, Tensor], Tensor]  # u and |u| + 1


def raised_cosine(x: Tensor, roll_off: float) -> Tensor:
    a = roll_off * x
    return torch.sinc(x / math.pi) * torch.cos(a) / (1 - (2 * a / math.pi) ** 2)


def gauss_of(s: Tensor) -> Tensor:
    return torch.exp(-s * s)


PAPERS: list[tuple[Any, Paper]] = [
    (Siren(omega=20), lambda u, _: torch.sin(20 * u)),
    (Finer(omega=20), lambda u, growth: torch.sin(20 * growth * u)),
    (Gauss(scale=7), lambda u, _: gauss_of(7 * u)),
    (FinerGauss(scale=3, omega=10), lambda u, growth: gauss_of(3 * torch.sin(10 * growth * u))),
    (
        FinerWavelet(numbers="real"),
        lambda u, growth: torch.cos(4 * torch.sin(5 * growth * u)) * gauss_of(2 * torch.sin(5 * growth * u)),
    ),
    (Hosc(omega=20, beta=4), lambda u, _: torch.tanh(4 * torch.sin(20 * u))),
    (Sinc(omega=20), lambda u, _: torch.sinc(20 * u / math.pi)),
    (RaisedCosine(omega=20, roll_off=0.5), lambda u, _: raised_cosine(20 * u, 0.5)),
    (RaisedCosine(omega=20, roll_off=1.0), lambda u, _: raised_cosine(20 * u, 1.0)),
]
NAMES = [type(activation).__name__ for activation, _ in PAPERS]
WITH_GROWTH = {"Finer", "FinerGauss", "FinerWavelet"}


def function_of(activation: Any) -> tuple[Any, tuple[float, ...]]:
    layer = activation.hidden(8, 8, is_first=False)
    return layer.in_training, layer.constants


@pytest.mark.parametrize(("activation", "paper"), PAPERS, ids=NAMES)
@pytest.mark.parametrize("n", [500, 40_000])  # few go through torch, many through the kernel
def test_values_and_slopes_are_the_papers(activation: Any, paper: Paper, n: int):
    function, constants = function_of(activation)
    u = (1.5 * torch.randn(n, generator=torch.Generator().manual_seed(0))).requires_grad_()
    exact = u.detach().double().requires_grad_()
    wanted = paper(exact, exact.detach().abs() + 1)  # the published code's: a constant to back-propagation
    (slope,) = torch.autograd.grad(wanted.sum(), exact)
    y = pointwise(u, function, *constants)
    torch.testing.assert_close(y.detach().double(), wanted.detach(), rtol=0, atol=2e-4)
    (found,) = torch.autograd.grad(y.sum(), u)
    torch.testing.assert_close(found.double(), slope, rtol=1e-3, atol=1e-3 * float(slope.abs().max()))


@pytest.mark.parametrize(
    ("activation", "paper"), [(a, p) for (a, p), name in zip(PAPERS, NAMES, strict=True) if name in WITH_GROWTH]
)
def test_a_full_gradient_is_the_true_derivative(activation: Any, paper: Paper):
    function, constants = function_of(type(activation)(**{**vars(activation), "gradient": "full"}))
    u = torch.randn(300, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (wanted,) = torch.autograd.grad(paper(u, u.abs() + 1).sum(), u)
    (found,) = torch.autograd.grad(pointwise(u, function, *constants).sum(), u)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("activation", [activation for activation, _ in PAPERS], ids=NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_slopes_are_finite_everywhere(activation: Any, dtype: torch.dtype):
    function, constants = function_of(activation)
    pole = math.pi / 20  # of the raised cosine of roll-off 0.5
    places = [0.0, 1e-38, 1e-20, 1e-4, 0.1 / 20, pole, pole / 2, pole * (1 + 1e-6), 1.0, 30.0, 1e4]
    u = torch.tensor([sign * place for place in places for sign in (1, -1)] * 2000, dtype=dtype)
    assert pointwise(u, function, *constants).isfinite().all()
    assert function.slope(u, *constants).isfinite().all()
    u.requires_grad_()
    (slope,) = torch.autograd.grad(pointwise(u, function, *constants).sum(), u)
    assert slope.isfinite().all()


@pytest.mark.parametrize(
    ("activation", "first", "later"),
    [
        (Gauss(), 0.5**0.5, 64**-0.5),
        (Gauss(init="sine"), 0.5, (6 / 64) ** 0.5 / 30),
        (FinerGauss(), 0.5, (6 / 64) ** 0.5 / 10),
        (Finer(), 0.5, (6 / 64) ** 0.5 / 30),
        (Hosc(), 0.5, (6 / 64) ** 0.5 / 30),
        (Sinc(), 0.5**0.5, 64**-0.5),
        (RaisedCosine(), 0.5**0.5, 64**-0.5),
    ],
    ids=str,
)
def test_weights_have_the_ranges_of_the_papers_code(activation: Any, first: float, later: float):
    torch.manual_seed(0)
    layers = [(2, activation.hidden(2, 4000, is_first=True)), (64, activation.hidden(64, 400, is_first=False))]
    layers.append((64, activation.output(64, 300)))
    for (n, layer), bound in zip(layers, (first, later, later), strict=True):
        assert layer.weight.shape[1] == n
        assert 0.99 * bound < float(layer.weight.detach().abs().max()) <= bound * (1 + 1e-6)


def test_the_first_bias_alone_has_the_wide_range():
    torch.manual_seed(0)
    for activation in (Finer(bias=2.0), FinerGauss(bias=2.0), FinerWavelet(bias=2.0, numbers="real")):
        assert 1.9 < float(activation.hidden(2, 4000, is_first=True).bias.detach().abs().max()) <= 2.0
        assert float(activation.hidden(64, 400, is_first=False).bias.detach().abs().max()) < 0.2


def test_a_learned_edge_starts_as_the_fixed_one_and_moves():
    torch.manual_seed(0)
    layer = Hosc(omega=5, beta=3, learn_beta=True).hidden(4, 6, is_first=False)
    x = torch.randn(50, 4)
    u = x @ layer.weight.t() + layer.bias
    torch.testing.assert_close(layer(x), torch.tanh(3 * torch.sin(5 * u)))
    layer(x).square().sum().backward()
    assert layer.beta.grad.abs() > 0


@pytest.mark.parametrize(
    ("function", "wanted"),
    [("relu", torch.relu), ("tanh", torch.tanh), ("softplus", lambda u: torch.log1p(torch.exp(5 * u)) / 5)],
)
def test_the_baselines_are_torchs(function: Any, wanted: Callable[[Tensor], Tensor]):
    torch.manual_seed(0)
    layer = Relu(function=function, sharpness=5).hidden(3, 4, is_first=False)
    x = torch.randn(20, 3)
    torch.testing.assert_close(layer(x), wanted(layer[0](x)))


def test_a_chebyshev_series_is_the_sum_of_cosines_it_stands_for():
    torch.manual_seed(0)
    series = Chebyshev(degree=40).hidden(2, 10, is_first=True).double()
    x = torch.randn(30, 2, dtype=torch.float64)
    angle = torch.arccos(torch.tanh(x))
    terms = torch.stack([torch.cos(k * angle) for k in range(41)], dim=1).flatten(1)
    h, psi = series(x).chunk(2, dim=-1)
    torch.testing.assert_close(psi.detach(), (terms @ series.coefficients.t()).detach())
    assert torch.equal(h, psi)


@pytest.mark.parametrize("rank", [None, 3])
def test_a_chebyshev_network_modulates_each_later_layer(rank: int | None):
    torch.manual_seed(0)
    mlp = MLP(2, 3, width=32, depth=3, activation=Chebyshev(degree=20, rank=rank))
    x = torch.rand(40, 2) * 2 - 1
    first, second, third, last = mlp.layers
    psi = first(x)[:, :16]
    h = torch.relu(third.map(torch.relu(second.map(psi * psi)) * psi))
    torch.testing.assert_close(mlp(x), h @ last.weight.t() + last.bias)
    assert first(torch.tensor([[1e4, -1e4]])).isfinite().all()
