"""Formulas: what they say, with the slope they say, on a few numbers and on many."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from fieldengine.ops import ComplexFunction, RealFunction, cos, exp, pointwise, sin

MANY = 40_000  # more than it takes for the kernel to be used
OMEGA, SHARPNESS = 30.0, 2.5


def chirp(u: Any, omega: float, sharpness: float) -> Any:
    return exp(-sharpness * u * u) * sin(omega * (abs(u) + 1.0) * u)


def slope_of_chirp(u: Any, omega: float, sharpness: float) -> Any:
    phase, bell = omega * (abs(u) + 1.0) * u, exp(-sharpness * u * u)
    return bell * (omega * (2.0 * abs(u) + 1.0) * cos(phase) - 2.0 * sharpness * u * sin(phase))


def wave(u: Any) -> Any:
    return sin(u)


def bell(u: Any) -> Any:
    return exp(u)


def wrong_on_purpose(u: Any) -> Any:
    return 3.0 * u


def twist(a: Any, b: Any, omega: float) -> Any:
    return swing(a, omega) * exp(-b), a * b


def swing(a: Any, omega: float) -> Any:
    return cos(omega * a)


def pullback_of_twist(a: Any, b: Any, g: Any, h: Any, omega: float) -> Any:
    return -omega * sin(omega * a) * exp(-b) * g + b * h, -swing(a, omega) * exp(-b) * g + a * h


def numbers(n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=dtype)


def exact(u: Tensor) -> Tensor:
    """The chirp in double precision."""
    u = u.double()
    return torch.exp(-SHARPNESS * u * u) * torch.sin(OMEGA * (u.abs() + 1) * u)


@pytest.mark.parametrize("shape", [(), (3,), (MANY,), (MANY // 8, 8), (0,)])
def test_values_and_slopes_are_those_of_the_function(shape: tuple[int, ...]):
    u = numbers(math.prod(shape)).view(shape).requires_grad_()
    leaf = u.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad(exact(leaf).sum(), leaf)
    y = pointwise(u, RealFunction(chirp, slope_of_chirp), OMEGA, SHARPNESS)
    torch.testing.assert_close(y.detach().double(), exact(u.detach()), rtol=1e-4, atol=1e-5)
    (found,) = torch.autograd.grad(y.sum(), u)
    assert (y.dtype, found.dtype, found.shape) == (torch.float32, torch.float32, u.shape)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-3)


def test_a_sine_is_exact_over_thousands_of_turns():
    u = 1e4 * numbers(MANY)
    torch.testing.assert_close(pointwise(u, RealFunction(wave, wave)), torch.sin(u.double()).float(), rtol=0, atol=1e-6)


def test_an_exponential_is_exact_as_far_as_it_is_a_float32_and_runs_over_as_it_should():
    u = torch.linspace(-100, 89, MANY)
    torch.testing.assert_close(
        pointwise(u, RealFunction(bell, bell)), torch.exp(u.double()).float(), rtol=2e-6, atol=1e-44
    )
    assert pointwise(torch.full((MANY,), 1e6), RealFunction(bell, bell)).isinf().all()
    assert not pointwise(torch.full((MANY,), -1e6), RealFunction(bell, bell)).any()


@pytest.mark.parametrize("function", [wave, bell])
def test_what_is_not_a_number_stays_none(function: Any):
    u = numbers(MANY)
    u[7] = float("nan")
    y = pointwise(u, RealFunction(function, function))
    assert y.isnan().sum() == 1
    assert y[7].isnan()


@pytest.mark.parametrize("n", [10, MANY])
def test_back_propagation_takes_the_slope_that_is_given(n: int):
    u = numbers(n).requires_grad_()
    (found,) = torch.autograd.grad(pointwise(u, RealFunction(wave, wrong_on_purpose)).sum(), u)
    torch.testing.assert_close(found, 3 * u.detach())


@pytest.mark.parametrize("n", [10, MANY])
def test_a_slope_has_a_gradient_of_its_own(n: int):
    u = numbers(n).requires_grad_()
    (slope,) = torch.autograd.grad(pointwise(u, RealFunction(wave, wrong_on_purpose)).sum(), u, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), u)
    torch.testing.assert_close(second, torch.full_like(second, 3.0))


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("n", [10, MANY])
def test_there_is_a_forward_derivative(n: int):
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(numbers(n), torch.full((n,), 2.0))
        tangent = forward_ad.unpack_dual(pointwise(dual, RealFunction(wave, wrong_on_purpose))).tangent
    torch.testing.assert_close(tangent, 6 * numbers(n))


def test_double_precision_stays_double():
    u = numbers(MANY, torch.float64).requires_grad_()
    torch.testing.assert_close(pointwise(u, RealFunction(wave, wave)), torch.sin(u), rtol=0, atol=1e-15)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("rows", [3, MANY // 10])
def test_a_function_of_pairs_has_its_values_gradients_and_tangents(rows: int):
    function = ComplexFunction(twist, pullback_of_twist)
    u, g = (numbers(2 * 10 * rows).view(2, rows, 10)[i] for i in (0, 1))
    leaf = u.double().requires_grad_()
    wanted = torch.cat(twist(*leaf.chunk(2, dim=-1), OMEGA), dim=-1)
    (slope,) = torch.autograd.grad(wanted, leaf, g.double(), create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), leaf)
    own = u.clone().requires_grad_()
    y = pointwise(own, function, OMEGA)
    torch.testing.assert_close(y.detach().double(), wanted.detach(), rtol=1e-4, atol=1e-4)
    (found,) = torch.autograd.grad(y, own, g, retain_graph=True)
    torch.testing.assert_close(found.double(), slope.detach(), rtol=1e-3, atol=1e-2)
    (found,) = torch.autograd.grad(y, own, g, create_graph=True)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), own)[0].double(), second, rtol=1e-3, atol=0.1)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(pointwise(forward_ad.make_dual(u, g), function, OMEGA)).tangent
    # <g, J g> is <J^T g, g>
    torch.testing.assert_close((tangent * g).sum().double(), (slope.detach() * g).sum(), rtol=1e-3, atol=1.0)


PROGRAM = """
import torch, mine
from fieldengine.ops import RealFunction, pointwise
print(pointwise(torch.ones(40_000), RealFunction(mine.value, mine.value))[0].item())
"""


def test_an_edited_formula_is_compiled_anew(tmp_path: Path):
    found = []
    for factor in (2.0, 5.0):
        (tmp_path / "mine.py").write_text(f"def value(u):\n    return {factor} * u\n")
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found.append(float(done.stdout))
    assert found == [2.0, 5.0]
