"""A trained field as one calls it by hand: shapes, kinds of numbers, and gradients that are its derivative."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import hessian, jacfwd, jacrev, vmap

from fieldengine.fields import function
from fieldengine.fields.function import FieldFunction
from fieldengine.fields.radiance import Radiance
from fieldengine.fields.signal import Signal
from fieldengine.fields.surface import Surface
from fieldengine.ops import surrogate_gradients
from fieldengine.plugins.guest import with_defaults
from fieldengine.plugins.registry import Plugin, Registry
from fieldengine.types import Aabb

# forward mode compiles its rules when it is first used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

BOX = Aabb.of([-1, -2, 0], [1, 2, 6])
REGISTRY = Registry()
PARTS = [
    plugin
    for plugin in REGISTRY
    if plugin.kind in ("encodings", "activations", "parameterizations") and plugin.name not in ("concat", "progressive")
]
SLOT = {"encodings": "encoding", "activations": "activation", "parameterizations": "parameterization"}


def made(kind: str, name: str) -> Any:
    return with_defaults(REGISTRY.find(kind, name), "")


def surface(**parts: Any) -> FieldFunction:
    torch.manual_seed(0)
    parts = {"encoding": made("encodings", "identity"), "activation": made("activations", "finer"), **parts}
    return FieldFunction(Surface(**parts, width=16, depth=2).build(in_dim=3, out_dim=1, aabb=BOX).eval(), BOX)


def signal(**parts: Any) -> FieldFunction:
    torch.manual_seed(0)
    parts = {"encoding": made("encodings", "identity"), "activation": made("activations", "siren"), **parts}
    return FieldFunction(Signal(**parts, width=16, depth=2).build(in_dim=3, out_dim=2, aabb=BOX).eval(), BOX)


def radiance() -> FieldFunction:
    torch.manual_seed(0)
    parts = {
        "encoding": made("encodings", "frequency"),
        "direction_encoding": made("encodings", "spherical_harmonics"),
        "activation": made("activations", "relu"),
    }
    return FieldFunction(Radiance(**parts).build(in_dim=3, out_dim=3, aabb=BOX).eval(), BOX)


def places(*shape: int) -> Tensor:
    unit = torch.rand(*shape, 3, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    return BOX.from_unit(unit)


FIELDS = {"surface": (surface, ()), "signal": (signal, (2,)), "radiance": (radiance, ())}
every_field = pytest.mark.parametrize("name", FIELDS)


@every_field
@pytest.mark.parametrize("shape", [(), (5,), (4, 6), (2, 3, 4), (0,), (3, 0)])
def test_points_may_have_any_leading_shape(name: str, shape: tuple[int, ...]):
    make, channels = FIELDS[name]
    field, x = make(), places(*shape)
    y = field(x)
    assert y.shape == (*shape, *channels)
    flat = field(x.reshape(-1, 3))
    torch.testing.assert_close(y.reshape(flat.shape), flat, rtol=0, atol=0)


@every_field
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, torch.uint8])
def test_other_kinds_of_numbers_are_cast_to_that_of_the_weights(name: str, dtype: torch.dtype):
    field, x = FIELDS[name][0](), places(7).abs().round().to(dtype)
    assert field(x).dtype == torch.float32
    assert torch.equal(field(x), field(x.float()))
    assert copy.deepcopy(field).double()(x).dtype == torch.float64


@every_field
def test_what_numpy_makes_an_array_of_comes_back_as_one(name: str):
    field, x = FIELDS[name][0](), places(4, 6)
    for given in (x.numpy(), x.numpy().astype(np.float64), x.tolist(), np.asfortranarray(x.numpy())):
        found = field(given)
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, field(x).detach().numpy())


@every_field
@pytest.mark.parametrize(
    ("points", "said"),
    [
        (torch.zeros(4, 2), r"expected points of shape \(\.\.\., 3\), found \(4, 2\)"),
        (torch.zeros(3, 4), r"found \(3, 4\)"),
        (torch.tensor(1.0), r"found \(\)"),
        (torch.zeros(4, 3, dtype=torch.complex64), "real numbers, found torch.complex64"),
        (torch.zeros(4, 3, dtype=torch.bool), "real numbers, found torch.bool"),
        (np.zeros((4, 3), dtype=bool), "real numbers, found bool"),
        (np.array(["a", "b", "c"]), "real numbers, found <U1"),
        ([[1.0, 2.0, None]], "real numbers, found object"),
        (torch.zeros(4, 3, device="meta"), "the field is on cpu and the points are on meta"),
    ],
)
def test_what_is_no_point_is_refused_in_one_sentence(name: str, points: Any, said: str):
    with pytest.raises(ValueError, match=said):
        FIELDS[name][0]()(points)


def test_many_points_are_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch):
    field, x = signal(), places(50)
    whole = field(x).detach()
    monkeypatch.setattr(function, "AT_ONCE", 7)
    with torch.no_grad():
        torch.testing.assert_close(field(x), whole, rtol=0, atol=1e-6)


def test_the_networks_own_offers_and_parts_are_found():
    field = surface()
    assert torch.equal(field.sdf(places(5))[0], field(places(5)))
    assert field.encoding is field.network.encoding
    assert copy.deepcopy(field).encoding is not field.encoding
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = field.colour


# ---------------------------------------------------------------------------------------------------------- derivatives


def differences(field: FieldFunction, x: Tensor) -> Tensor:
    """The slope of the first value, (m, 3), by central differences in double precision."""
    exact, step = copy.deepcopy(field).double(), 1e-6 * torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        sides = [first(exact(x.double() + v)) - first(exact(x.double() - v)) for v in step]
    return torch.stack(sides, dim=1) / 2e-6


def first(y: Tensor) -> Tensor:
    return y[:, 0] if y.ndim == 2 else y


def by_autograd(field: FieldFunction, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(first(field(x)).sum(), x)[0]


@pytest.mark.parametrize("plugin", PARTS, ids=lambda plugin: f"{plugin.kind}:{plugin.distribution}:{plugin.name}")
def test_autograd_is_the_derivative_and_torch_func_agrees(plugin: Plugin):
    field, x = signal(**{SLOT[plugin.kind]: with_defaults(plugin, "")}), places(20)
    wanted = differences(field, x)
    size = float(wanted.abs().max())
    torch.testing.assert_close(by_autograd(field, x).double(), wanted, rtol=0, atol=2e-4 * size)
    for derivative in (jacrev, jacfwd):
        torch.testing.assert_close(vmap(derivative(field))(x)[:, 0].double(), wanted, rtol=0, atol=2e-4 * size)
    torch.testing.assert_close(vmap(field)(x), field(x), rtol=0, atol=1e-5)


@every_field
def test_every_field_has_its_derivative(name: str):
    field, x = FIELDS[name][0](), places(30)
    wanted = differences(field, x)
    torch.testing.assert_close(by_autograd(field, x).double(), wanted, rtol=1e-3, atol=2e-4 * float(wanted.abs().max()))


def test_training_uses_a_surrogate_gradient_and_a_trained_field_does_not():
    field, x = surface(), places(30)
    wanted = differences(field, x)
    with surrogate_gradients():
        trained = by_autograd(field, x)
    field.network.train()
    assert torch.equal(by_autograd(field, x), trained)
    assert float((trained - wanted).norm() / wanted.norm()) > 0.1, "finer's default gradient is no derivative"


def test_second_derivatives_are_finite_and_right_in_the_box():
    field, x = surface(activation=made("activations", "siren")), places(10)
    found = vmap(hessian(field))(x).double()
    exact, step = copy.deepcopy(field).double(), 1e-5 * torch.eye(3, dtype=torch.float64)
    sides = [by_autograd(exact, x.double() + v) - by_autograd(exact, x.double() - v) for v in step]
    wanted = torch.stack(sides, dim=1) / 2e-5
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3 * float(wanted.abs().max()))


class Sphere(nn.Module):
    """The signed distance to a sphere of radius 1/2, wherever it is asked."""

    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.norm(dim=-1) - 0.5, x[:, :0]


def test_outside_its_box_a_distance_goes_on_by_the_distance_to_the_box():
    box = Aabb.of([-1, -1, -1], [1, 1, 1])
    field = FieldFunction(Sphere(), box)
    x = torch.tensor([[3.0, 0, 0], [0.3, -4, 0], [2, 2, 2], [0.9, 0, 0]])
    wanted = torch.tensor([2 + 0.5, 3 + 1.09**0.5 - 0.5, 3**0.5 + 3**0.5 - 0.5, 0.4])
    torch.testing.assert_close(field(x), wanted)
    x.requires_grad_()
    slope = torch.autograd.grad(field(x).sum(), x)[0]
    assert slope.isfinite().all()
    torch.testing.assert_close(slope[0], torch.tensor([1.0, 0, 0]))


def test_outside_its_box_a_density_is_zero():
    assert not radiance()(torch.tensor([[0.0, 0, 7], [3, 0, 1]])).any()
