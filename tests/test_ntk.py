"""The empirical kernel and products with the Jacobian, against Jacobians row by row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fieldengine import ntk
from fieldengine.fields.mlp import MLP
from fieldengine.fields.radiance import Radiance
from fieldengine.ntk import outer, rows
from fieldengine.ntk.gram import trainable
from fieldengine.ops import RealFunction, cos, pointwise, sin
from fieldengine.plugins.registry import Registry
from fieldengine.types import Aabb

Values = Callable[[Tensor], Tensor]
REGISTRY = Registry()
GRID = {"n_levels": 4, "coarsest": 3, "log2_table": 6}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "wire": [{"window": window, "init": "sine"} for window in ("own", "second")],
    "finer": [{"gradient": gradient} for gradient in ("detached", "full")],
    "finer_wavelet": [{"numbers": numbers} for numbers in ("complex", "real")],
    "hosc": [{"learn_beta": learn} for learn in (False, True)],
    "chebyshev": [{"degree": 5}, {"degree": 5, "rank": 2}],
    "hash_grid": [{**GRID, "finest": 40, "interpolation": kind} for kind in ("linear", "smoothstep")],
    "dense_grid": [{"resolution": 7, "n_features": 2}],
    "peak": [{"degree": 3, "basis": basis} for basis in ("monomials", "elementwise")],
    "fourier": [{"n_features": 8}],
}


def made(kind: str, name: str, **options: Any) -> Any:
    return REGISTRY.find(kind, name).load()(**options)


def cases(kind: str) -> list[Any]:
    names = [name for name in REGISTRY.names(kind) if REGISTRY.default(kind, name) == name]
    return [pytest.param(n, o, id=f"{n}-{i}") for n in names for i, o in enumerate(OPTIONS.get(n, [{}]))]


def mlp(in_dim: int = 2, activation: str = "siren", **options: Any) -> nn.Module:
    return MLP(in_dim, 3, width=8, depth=2, activation=made("activations", activation, **options))


def with_encoding(name: str, options: dict[str, Any]) -> nn.Module:
    grid = made("encodings", "hash_grid", **GRID, finest=40)
    nested = {"concat": {"parts": (grid, made("encodings", "peak"))}, "progressive": {"encoding": grid}}
    encoding = made("encodings", name, **nested.get(name, options)).build(3)
    network = nn.Sequential(encoding, mlp(encoding.out_dim, "relu", function="tanh")).double()
    for parameter in encoding.parameters():  # as after a while of training, so that tables matter
        nn.init.normal_(parameter)
    return network


def points(m: int, d: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(m, d, dtype=dtype, generator=torch.Generator().manual_seed(1)) * 1.9 - 0.95


def jacobian(module: nn.Module, values: Values, x: Tensor) -> Tensor:
    """(m, c, q): one point and one value after the other."""
    parameters = list(trainable(module).values())

    def row(value: Tensor) -> Tensor:
        found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        return torch.cat([part.to_dense().flatten() for part in found])

    return torch.stack([torch.stack([row(v) for v in values(x[i : i + 1]).flatten()]) for i in range(len(x))])


def explicit(module: nn.Module, values: Values, x: Tensor, per_group: int = 1) -> Tensor:
    j = jacobian(module, values, x).double()
    s = (j.sum(1) / j.shape[1] ** 0.5).unflatten(0, (-1, per_group)).sum(1)
    return s @ s.t()


def check(module: nn.Module, values: Values, x: Tensor, tolerance: float = 1e-9) -> list[str]:
    """Everything equals what the Jacobian says, and the module is as it was. Returns what was told."""
    told: list[str] = []
    before, state, random = as_it_is(module), copy.deepcopy(module.state_dict()), torch.get_rng_state()
    for k in (1, 3):
        expected = explicit(module, values, x, k)
        found = ntk.gram(module, values, x, per_group=k, warn=told.append if k == 1 else None)
        assert not found.requires_grad
        assert (found - expected).norm() <= tolerance * expected.norm()
    j = jacobian(module, values, x)
    generator = torch.Generator().manual_seed(2)
    g = torch.randn(j.shape[:2], dtype=x.dtype, generator=generator).view_as(values(x))
    up = torch.einsum("mc,mcq->q", g.view(j.shape[:2]), j)
    pulled = ntk.vjp(module, values, x, g, tile=4)
    assert (flat(pulled) - up).norm() <= tolerance * up.norm()
    direction = {n: torch.randn(p.shape, dtype=p.dtype, generator=generator) for n, p in trainable(module).items()}
    pushed = ntk.jvp(module, values, x, direction, tile=4)
    down = torch.einsum("mcq,q->mc", j, flat(direction)).view_as(pushed)
    assert (pushed - down).norm() <= tolerance * down.norm()
    assert (g * pushed).sum().item() == pytest.approx((flat(pulled) @ flat(direction)).item(), rel=1e3 * tolerance)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert before == as_it_is(module)
    return told


def as_it_is(module: nn.Module) -> list[tuple[Any, ...]]:
    modes = [(m.training, len(m._forward_hooks)) for m in module.modules()]
    return [*modes, *((id(p), p.requires_grad, p.grad) for p in module.parameters())]


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize(("name", "options"), cases("activations"))
def test_every_activation(name: str, options: dict[str, Any]):
    network = mlp(2, name, **options).double()
    assert bool(check(network, network, points(6))) == options.get("learn_beta", False)


@pytest.mark.parametrize(("name", "options"), cases("encodings"))
def test_every_encoding(name: str, options: dict[str, Any]):
    network = with_encoding(name, options)
    assert bool(check(network, network, points(6, 3))) == (name in ("peak", "concat"))


@pytest.mark.parametrize("filters", ["gabor", "fourier"])
def test_a_network_of_filters(filters: str):
    field = made("fields", "filter_network", filters=filters, width=6, depth=3, scale=4.0)
    network: Any = field.build(in_dim=2, out_dim=3, aabb=Aabb(-torch.ones(2), torch.ones(2))).double()
    assert len(check(network, network.values, points(6))) == (3 if filters == "gabor" else 0)


def test_density_of_a_radiance_field_whose_head_is_not_asked():
    parts = made("encodings", "hash_grid", **GRID, finest=40), made("encodings", "spherical_harmonics")
    options = Radiance(*parts, made("activations", "relu"), width=8)
    field = options.build(in_dim=3, out_dim=3, aabb=Aabb(-torch.ones(3), torch.ones(3))).double()
    assert not check(field, field, points(6, 3))


@pytest.mark.parametrize("name", ["weight_norm", "fourier", "batch_norm"])
def test_weights_held_in_another_way(name: str):
    options = {"low": 2, "high": 2, "phases": 4} if name == "fourier" else {}
    layers = made("parameterizations", name, **options)
    network = MLP(2, 3, width=8, depth=2, activation=made("activations", "wire"), parameterization=layers).double()
    assert check(network.eval(), network, points(6))
    if name == "batch_norm":
        with pytest.raises(ValueError, match=r"Standardised mixes points in training mode; call eval\(\) first"):
            ntk.gram(network.train(), network, points(6))


class Odd(nn.Module):
    """A layer with two names, used twice and in another way, one that is tied to it, and parameters of the whole."""

    def __init__(self, twice: bool = True, other: bool = False, top: bool = False, waves: bool = False):
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(2, 5), nn.Linear(5, 5), nn.Linear(5, 3, bias=False)
        self.again, self.tied = self.shared, nn.Linear(5, 5)
        self.tied.weight = self.shared.weight
        self.scale = nn.Parameter(torch.ones(3)) if top else None
        self.own = Waves() if waves else nn.Identity()
        self.twice, self.other = twice, other

    def forward(self, x: Tensor) -> Tensor:
        h = self.own(functional.relu(self.first(x), inplace=True))
        h = torch.sin(self.tied(torch.sin(self.shared(h))))
        h = self.again(h) if self.twice else h
        h = h + self.shared.weight.square().sum() if self.other else h
        return self.last(h) if self.scale is None else self.scale * self.last(h)


class Waves(nn.Module):
    """A layer that torch cannot run on batches of rows: the function is no operation of its own."""

    def __init__(self):
        super().__init__()
        self.frequencies = nn.Parameter(torch.rand(5))

    def forward(self, x: Tensor) -> Tensor:
        return pointwise(x * self.frequencies, RealFunction(sin, cos))


@pytest.mark.parametrize(
    ("kinds", "sentences"),
    [
        ({}, []),
        ({"twice": False}, []),
        ({"other": True}, ["no rule for shared.weight: gradients are taken point by point, through the whole field"]),
        ({"top": True}, ["no rule for scale: gradients are taken point by point, through the whole field"]),
        ({"waves": True}, ["no rule for own.frequencies: the gradients of Waves are taken row by row"]),
    ],
)
def test_parameters_used_in_several_ways_and_those_without_a_rule(kinds: dict[str, bool], sentences: list[str]):
    network = Odd(**kinds).double()
    network.first.weight.requires_grad_(False)
    assert check(network, network.forward, points(6)) == sentences  # hooks of the whole are not called


class Scaled(nn.Module):
    """Knows its gradients by row."""

    def __init__(self, sparse: bool):
        super().__init__()
        self.gain, self.sparse = nn.Parameter(torch.rand(8)), sparse

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x

    def gradients_by_row(self, x: Tensor, g: Tensor) -> list[Tensor]:
        return [(x * g).to_sparse() if self.sparse else x * g]


@pytest.mark.parametrize("sparse", [False, True])
def test_a_strangers_module_may_know_its_gradients(sparse: bool):
    scaled = Scaled(sparse)
    network = nn.Sequential(nn.Linear(2, 8), scaled, nn.Sigmoid(), scaled, nn.Linear(8, 3)).double()
    assert not check(network, network, points(6))


@pytest.mark.parametrize("name", ["siren", "wire", "hosc"])
@pytest.mark.parametrize("per_group", [1, 2, 20])
def test_neither_groups_nor_what_is_kept_at_once_change_the_kernel(
    name: str, per_group: int, monkeypatch: pytest.MonkeyPatch
):
    encoding = made("encodings", "hash_grid", **GRID, finest=40).build(2)
    network = nn.Sequential(encoding, mlp(8, name, **(OPTIONS.get(name, [{}])[-1]))).double()
    expected = explicit(network, network, points(60), per_group)
    for most in (outer.MOST, 100):
        monkeypatch.setattr(outer, "MOST", most)
        monkeypatch.setattr(rows, "MOST", most)
        found = ntk.gram(network, network, points(60), per_group=per_group)
        assert (found - expected).norm() <= 1e-9 * expected.norm()


def test_the_kernels_of_the_cpu_in_float32():
    """Wide enough that compiled kernels run; precision that was asked for outside does not count inside."""
    network, x = MLP(2, 3, width=256, depth=2, activation=made("activations", "finer")), points(64, 2, torch.float32)
    exact = copy.deepcopy(network).double()
    expected = explicit(exact, exact, x.double())
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found = ntk.gram(network, network, x)
    assert found.dtype == torch.float32
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    u, v = torch.randn(64, 3), {name: torch.randn_like(p) for name, p in trainable(network).items()}
    pushed, pulled = ntk.jvp(network, network, x, v), ntk.vjp(network, network, x, u)
    assert (u * pushed).sum().item() == pytest.approx((flat(pulled) @ flat(v)).item(), rel=1e-3)
    for tile in (7, 64):
        torch.testing.assert_close(ntk.jvp(network, network, x, v, tile=tile), pushed, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(flat(ntk.vjp(network, network, x, u, tile=tile)), flat(pulled), rtol=1e-3, atol=1e-3)


def test_small_kernels_are_computed_in_one_thread_and_large_ones_in_all(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
):
    """Two threads wait for each other longer than a few points take."""
    network, seen = mlp(), []

    def values(x: Tensor) -> Tensor:
        seen.append(torch.get_num_threads())
        if x.isnan().any():
            raise RuntimeError("no")
        return network(x)

    ntk.gram(network, values, points(60, 2, torch.float32))
    monkeypatch.setattr(import_module("fieldengine.ntk.gram"), "SMALL", 1 << 15)
    ntk.gram(network, values, points(600, 2, torch.float32))
    with pytest.raises(RuntimeError):
        ntk.gram(network, values, torch.full((5, 2), torch.nan))
    assert seen == [1, 2, 1]
    assert torch.get_num_threads() == 2


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_what_cannot_be_is_said():
    network = mlp()
    with pytest.raises(ValueError, match="7 points are no whole number of groups of 2"):
        ntk.gram(network, network, points(7), per_group=2)
    with pytest.raises(ValueError, match=r"values of 4 points have the shape \(3,\); they need a row a point"):
        ntk.gram(network, lambda x: network(x).sum(0), points(4, 2, torch.float32))
    with pytest.raises(ValueError, match="layers: no trainable parameter of this MLP"):
        ntk.jvp(network, network, points(4), {"layers": torch.zeros(1)})
    assert ntk.gram(network, network, points(0)).shape == (0, 0)
    assert not ntk.jvp(network, network, points(4, 2, torch.float32), {}).any()


@pytest.mark.parametrize(("m", "rank"), [(5, 5), (240, 240), (240, 6)])
def test_eigenpairs_are_those_of_the_whole_matrix(m: int, rank: int):
    vectors = torch.linalg.qr(torch.randn(m, m, dtype=torch.float64))[0]
    kernel = (vectors * 0.8 ** torch.arange(m) * (torch.arange(m) < rank)) @ vectors.t()
    whole = torch.linalg.eigh(kernel)[1]
    later = kernel + 1e-3 * torch.diag(torch.rand(m, dtype=torch.float64))
    for matrix, start in (
        (kernel, None),
        (kernel, whole[:, -12:]),
        (later, whole[:, -9:]),
        (later, torch.eye(m)[:, :9]),
        (later, whole[:, -8:]),
    ):
        found, basis = ntk.top_eigenpairs(matrix, 9, start)
        n = min(9, m)
        assert basis.shape == (m, n)
        torch.testing.assert_close(found, torch.linalg.eigvalsh(matrix).flip(0)[:n], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(matrix @ basis, basis * found, rtol=0, atol=2e-6)
        torch.testing.assert_close(basis.t() @ basis, torch.eye(n, dtype=torch.float64))


def test_a_kernel_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"a kernel is a square matrix; this one has the shape \(2, 3\)"):
        ntk.top_eigenpairs(torch.zeros(2, 3), 1)
    with pytest.raises(ValueError, match="the kernel holds numbers that are not finite"):
        ntk.top_eigenpairs(torch.full((2, 2), torch.nan), 1)
    assert [t.shape for t in ntk.top_eigenpairs(torch.zeros(3, 3), 0)] == [(0,), (3, 0)]


# ------------------------------------------------------------------------------------- where there is no second slope


class Once(torch.autograd.Function):
    """sin, whose derivative somebody wrote without a thought of a second one."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return u.sin()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return ctx.saved_tensors[0].cos() * g


class Cut(Once):
    """The same, its derivative computed outside of torch."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return torch.from_numpy(ctx.saved_tensors[0].detach().numpy()).cos() * g.detach()


class Sines(nn.Module):
    def __init__(self, sine: Callable[[Tensor], Tensor]):
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.sine = nn.ModuleList([nn.Linear(2, 32), nn.Linear(32, 3)]), sine

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[1](self.sine(3 * self.layers[0](x)))


@pytest.mark.parametrize("sine", [Once.apply, Cut.apply], ids=["once", "cut"])
def test_where_nothing_can_be_differentiated_twice_differences_stand_for_it_and_are_told(sine: Any):
    x = torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    exact, strange = Sines(torch.sin), Sines(sine)
    g = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    direction = ntk.vjp(exact, exact, x, g)
    before = [p.clone() for p in strange.parameters()]
    said: list[str] = []
    found = ntk.jvp(strange, strange, x, direction, warn=said.append, tile=20)
    wanted = ntk.jvp(exact, exact, x, direction)
    assert (found - wanted).norm() < 5e-3 * wanted.norm()
    assert all(torch.equal(p, q) for p, q in zip(strange.parameters(), before, strict=True))
    assert len(said) == 1
    assert "no second derivative of Sines" in said[0]
