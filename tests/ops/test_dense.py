"""Dense layers: the function of x Wᵀ + b and its gradients, exactly, or with factors rounded to bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from fieldengine.ops import RealFunction, bfloat16_products, cos, dense, sin
from fieldengine.ops.cpu import dense as twin

CASES = [(4096, 256, 256), (999, 70, 90), (777, 362, 130), (16000, 64, 64)]


def value(u, omega):
    return sin(omega * u)


def slope(u, omega):
    return omega * cos(omega * u)


SINE, OMEGA = RealFunction(value, slope), 3.0


def layer(m: int, k: int, n: int) -> list[Tensor]:
    """x, weight and bias that want gradients, and a cotangent."""
    generator = torch.Generator().manual_seed(m)
    x, weight, bias, g = (torch.randn(*shape, generator=generator) for shape in ((m, k), (n, k), (n,), (m, n)))
    return [x.requires_grad_(), (weight / k**0.5).requires_grad_(), bias.requires_grad_(), g]


def outputs(x: Tensor, weight: Tensor, bias: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    weight = weight.detach().requires_grad_()
    y = dense(x, weight, bias, SINE, OMEGA)
    return y.detach(), *torch.autograd.grad(y, (x, weight, bias), g)


def rounded(x: Tensor) -> Tensor:
    return x.detach().bfloat16().double()


needs_units = pytest.mark.skipif(not twin._has_bfloat16(), reason="this processor does not multiply bfloat16")


@pytest.mark.parametrize(("m", "k", "n"), CASES)
def test_a_layer_is_the_function_of_the_linear_map(m: int, k: int, n: int):
    x, weight, bias, g = layer(m, k, n)
    a, w, b = (t.detach().double().requires_grad_() for t in (x, weight, bias))
    wanted = torch.sin(OMEGA * (a @ w.t() + b))
    gradients = torch.autograd.grad(wanted, (a, w, b), g.double())
    for found, expected in zip(outputs(x, weight, bias, g), (wanted.detach(), *gradients), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@needs_units
@pytest.mark.parametrize(("m", "k", "n"), CASES)
def test_where_it_is_allowed_factors_are_rounded_and_nothing_else(m: int, k: int, n: int, kernels: str):
    x, weight, bias, g = layer(m, k, n)
    with bfloat16_products("all"):
        found = outputs(x, weight, bias, g)
    if kernels == "reference":
        assert all(torch.equal(a, b) for a, b in zip(found, outputs(x, weight, bias, g), strict=True))
        return
    u = rounded(x) @ rounded(weight).t() + bias.detach()
    c = OMEGA * torch.cos(OMEGA * u) * g
    wanted = (torch.sin(OMEGA * u), rounded(c.float()) @ rounded(weight), rounded(c.float()).t() @ rounded(x), c.sum(0))
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        # a cotangent between two bfloat16 may go either way, so gradients agree to a few of their last places
        scale = float(b.abs().max())
        assert float((a - b).abs().max()) < (1e-5 if number == 0 else 1e-3) * scale
        assert float((a - b).abs().mean()) < 1e-4 * scale


@needs_units
def test_gradients_alone_may_be_rounded(kernels: str):
    arguments = layer(*CASES[0])
    exact = outputs(*arguments)
    with bfloat16_products("gradients"):
        found = outputs(*arguments)
    torch.testing.assert_close(found[0], exact[0], rtol=0, atol=1e-5)
    for a, b in zip(found[1:3], exact[1:3], strict=True):
        error = float((a - b).abs().max()) / float(b.abs().max())
        assert error == 0 if kernels == "reference" else 1e-4 < error < 2e-2


@needs_units
def test_the_number_of_threads_does_not_matter():
    x, weight, bias, g = layer(5001, 100, 140)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 7, 64):
            torch.set_num_threads(threads)
            with bfloat16_products("all"):
                found.append(outputs(x, weight, bias, g))
    finally:
        torch.set_num_threads(before)
    if torch.equal(found[0][0], outputs(x, weight, bias, g)[0]):
        return  # the reference, whose sums are torch's
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_narrow_layers_and_double_precision_stay_exact():
    for case, dtype in (((9000, 2, 256), torch.float32), ((9000, 256, 3), torch.float32), (CASES[1], torch.float64)):
        x, weight, bias, g = (t.detach().to(dtype) for t in layer(*case))
        x.requires_grad_()
        exact = outputs(x, weight, bias.requires_grad_(), g)
        with bfloat16_products("all"):
            assert all(torch.equal(a, b) for a, b in zip(outputs(x, weight, bias, g), exact, strict=True))


def test_a_processor_without_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(twin, "_has_bfloat16", lambda: False)
    arguments = layer(*CASES[1])
    exact = outputs(*arguments)
    with bfloat16_products("all"):
        assert all(torch.equal(a, b) for a, b in zip(outputs(*arguments), exact, strict=True))


def test_a_gradient_has_a_gradient_of_its_own():
    x, weight, bias, g = layer(*CASES[1])

    def curvature() -> Tensor:
        (slopes,) = torch.autograd.grad(dense(x, weight, bias, SINE, OMEGA), x, g, create_graph=True)
        return torch.autograd.grad(slopes.square().mean(), weight)[0]

    exact = curvature()
    with bfloat16_products("all"):
        found = curvature()
    assert float((found - exact).abs().max()) < 0.03 * float(exact.abs().max())


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own
def test_there_is_a_forward_derivative():
    x, weight, bias, _ = (t.detach() for t in layer(*CASES[1]))
    direction = torch.ones_like(x)
    wanted = OMEGA * torch.cos(OMEGA * (x @ weight.t() + bias)) * (direction @ weight.t())
    with forward_ad.dual_level(), bfloat16_products("all"):
        dual = forward_ad.make_dual(x, direction)
        tangent = forward_ad.unpack_dual(dense(dual, weight, bias, SINE, OMEGA)).tangent
    torch.testing.assert_close(tangent, wanted, rtol=1e-3, atol=1e-3)
