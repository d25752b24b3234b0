"""Kernel alignment regularisation against explicit matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fieldengine.types import Aabb, AdamSettings, Domain, RunContext
from fieldengine_plugins.hooks import attention
from fieldengine_plugins.hooks.attention import attended
from fieldengine_plugins.hooks.kar import Kar, KarModule, line_energy

BOX = Aabb.of([0.0, -1.0], [4.0, 1.0])
MODES = ["l2", "l2sq", "dirichlet"]


class Waves(nn.Module):
    """A signal of two channels with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.tensor(1.5))

    def values(self, x: Tensor) -> Tensor:
        return self.size * torch.stack([torch.sin(3 * x[:, 0]), x[:, 0] * x[:, 1]], dim=-1)


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor([0.3, 2e3]))

    def values(self, x: Tensor) -> Tensor:
        return self.level.expand(len(x), 2)


def module_of(field: nn.Module, box: Aabb = BOX, seed: int = 0, **options: Any) -> KarModule:
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(seed), seed)
    domain = Domain(task="image", aabb=box, out_dim=2)
    built: Any = Kar(**options).build(field=field, domain=domain, context=context)
    return built


def explicit(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The whole matrix, its own keys at minus infinity."""
    logits = queries @ keys.T
    for i in range(min(len(queries), len(keys))):
        logits[i, i] = -torch.inf
    return logits.softmax(dim=-1) @ values


def laplacian(features: Tensor) -> Tensor:
    a = features @ features.T
    a = a - torch.diag(a.diagonal())
    return torch.diag(a.sum(dim=1)) - a


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -------------------------------------------------------------------------------------------------- the attention


@pytest.mark.parametrize(("n_queries", "n_keys"), [(30, 30), (7, 30), (30, 11), (1, 2)])
@pytest.mark.parametrize("fewest", [1, 4, 64])
def test_blocks_of_the_attention_are_the_explicit_softmax(
    fewest: int, n_queries: int, n_keys: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(attention.LOGITS, "cpu", 1)
    monkeypatch.setattr(attention, "FEWEST", fewest)
    ours = [drawn(n, r, seed=i).requires_grad_() for i, (n, r) in enumerate(((n_queries, 5), (n_keys, 5), (n_keys, 3)))]
    theirs = [t.detach().double().requires_grad_() for t in ours]
    found, wanted = attended(*ours), explicit(*theirs)
    torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-6)
    found.square().sum().backward()
    wanted.square().sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad, b.grad.float(), rtol=1e-4, atol=1e-5)


def test_a_point_is_never_its_own_key_however_alike_it_is():
    g = 30 * torch.eye(6)  # each point resembles itself by 900 and the others by 0
    values = drawn(6, 2).requires_grad_()
    found = attended(g, g, values)
    torch.testing.assert_close(found, (values.sum(dim=0) - values) / 5)
    for i in range(6):
        (gradient,) = torch.autograd.grad(found[i].sum(), values, retain_graph=True)
        assert not gradient[i].any()
        assert gradient.any(dim=-1).sum() == 5


def test_no_tensor_is_larger_than_a_block(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(attention.LOGITS, "cpu", 2000)
    monkeypatch.setattr(attention, "FEWEST", 1)

    class Largest(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else [out]:
                self.seen = max(self.seen, tensor.numel() if isinstance(tensor, Tensor) else 0)
            return out

    g, f = drawn(200, 4).requires_grad_(), drawn(200, 3).requires_grad_()
    with Largest() as largest:
        attended(g, g, f).square().sum().backward()
    assert 2000 <= largest.seen < 3000 < 200 * 200


# ------------------------------------------------------------------------------------------------------- the modes


def asked_of(field: Waves) -> list[Tensor]:
    """The points that the field will be asked for, call by call."""
    asked: list[Tensor] = []
    inner = field.values
    field.values = lambda x: (asked.append(x), inner(x))[1]  # type: ignore[method-assign]
    return asked


@pytest.mark.parametrize("mode", ["l2", "l2sq"])
@pytest.mark.parametrize("draw", ["window", "anywhere"])
@pytest.mark.parametrize(("keys", "queries"), [(None, None), (9, None), (9, 4), (4, 9), (25, 4), (99, 4), (4, 99)])
def test_the_penalty_is_the_mean_residual_of_the_drawn_points(
    mode: Any, draw: Any, keys: int | None, queries: int | None
):
    field = Waves()
    asked = asked_of(field)
    module = module_of(field, mode=mode, draw=draw, grid=5, keys=keys, queries=queries, rank=6, weight=0.5)
    found = module.penalty(0, field, BOX.grid(5))
    (x,) = asked
    n_keys, n_queries = (min(count, 25) for count in (keys or 25, queries or keys or 25))
    assert len({tuple(point) for point in x.tolist()}) == max(n_keys, n_queries)
    f, g = field.values(x), module.networks[0](2 * (x - BOX.lower) / BOX.size - 1)
    total = 0.0
    for i in range(n_queries):
        others = [j for j in range(n_keys) if j != i]
        shares = torch.stack([torch.exp(g[i] @ g[j]) for j in others])
        mean = sum(share * f[j] for share, j in zip(shares / shares.sum(), others, strict=True))
        squared = (f[i] - mean).square().sum()
        total += squared if mode == "l2sq" else squared.sqrt()
    torch.testing.assert_close(found, 0.5 * total / n_queries, rtol=1e-4, atol=1e-6)


def test_a_window_is_a_square_of_neighbours_and_comes_everywhere():
    field, points = Waves(), BOX.grid(6)
    asked = asked_of(field)
    module = module_of(field, grid=6, keys=10, rank=4)  # nine, the largest square
    for step in range(300):
        module.penalty(step, field, points)
    numbers = {tuple(point): i for i, point in enumerate(points.tolist())}
    found = [sorted(numbers[tuple(point)] for point in x.tolist()) for x in asked]
    for window in found:
        assert window == [window[0] + 6 * row + column for row in range(3) for column in range(3)]
    counts = torch.tensor([number for window in found for number in window]).bincount(minlength=36)
    assert float(counts.min() / counts.float().mean()) > 0.4, "those at the border, too"


@pytest.mark.parametrize("draw", ["window", "anywhere"])
@pytest.mark.parametrize(("keys", "queries"), [(2, None), (3, None), (2, 1), (2, 3)])
def test_the_fewest_keys_leave_every_query_one_that_is_not_its_own(draw: Any, keys: int, queries: int | None):
    module = module_of(Waves(), draw=draw, grid=6, keys=keys, queries=queries, rank=4)
    for step in range(20):
        assert bool(module.penalty(step, Waves(), BOX.grid(6)).isfinite())


def test_keys_that_are_fewer_than_all_queries_are_not_the_first_rows():
    field, points = Waves(), BOX.grid(6)
    asked = asked_of(field)
    module_of(field, grid=6, keys=8, queries=36, rank=4).penalty(0, field, points)
    assert not torch.equal(asked[0][:8], points[:8])


def test_the_energy_of_lines_is_that_of_the_laplacian():
    features, values = drawn(12, 5).softmax(dim=-1), drawn(12, 7, seed=1) + 3
    wanted = torch.trace(values.T @ laplacian(features) @ values)
    torch.testing.assert_close(line_energy(features, values), wanted, rtol=1e-4, atol=1e-4)


def test_dirichlet_is_the_energy_along_rows_and_along_columns():
    field = Waves()
    module = module_of(field, mode="dirichlet", grid=6, keys=None, rank=4, weight=2.0)
    points = BOX.grid(6)
    image = field.values(points).view(6, 6, 2)
    place = torch.linspace(-1, 1, 6)[:, None]
    first, second = (laplacian(network(place).softmax(dim=-1)) for network in module.networks)
    wanted = sum(
        torch.trace(image[..., c].T @ first @ image[..., c]) + torch.trace(image[..., c] @ second @ image[..., c].T)
        for c in range(2)
    )
    torch.testing.assert_close(module.penalty(0, field, points), 2.0 * wanted / 36, rtol=1e-4, atol=1e-5)


def test_dirichlet_of_drawn_lines_is_right_on_average():
    field = Waves()
    points = BOX.grid(8)
    some = module_of(field, mode="dirichlet", grid=8, keys=16, rank=4)
    whole = module_of(field, mode="dirichlet", grid=8, keys=None, rank=4)
    whole.load_state_dict(some.state_dict())
    asked: list[int] = []
    inner = field.values
    field.values = lambda x: asked.append(len(x)) or inner(x)  # type: ignore[method-assign]
    found = [some.penalty(step, field, points).item() for step in range(200)]
    assert set(asked) == {16}
    assert sum(found) / 200 == pytest.approx(whole.penalty(0, field, points).item(), rel=0.1)


@pytest.mark.parametrize("mode", MODES)
def test_a_constant_field_costs_nothing_and_has_a_finite_gradient(mode: Any):
    field = Constant()
    module = module_of(field, mode=mode, grid=8, keys=20, weight=1.0)
    found = module.penalty(0, field, BOX.grid(8))
    assert abs(found.item()) < 2000 * 100 * torch.finfo().eps  # of a value of 2000; logits reach the rank, 100
    found.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*field.parameters(), *module.parameters()])


def test_a_field_that_is_zero_costs_exactly_nothing():
    field = Constant()
    field.level.data.zero_()
    for mode in ("l2", "l2sq"):
        module = module_of(field, mode=mode, grid=8, keys=20)
        found = module.penalty(0, field, BOX.grid(8))
        found.backward()
        assert found.item() == 0.0
        assert field.level.grad is not None
        assert not field.level.grad.any()


# ----------------------------------------------------------------------------------------------------------------- g


def test_g_comes_from_the_seed_alone_and_global_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, same, other = (module_of(Waves(), seed=seed) for seed in (3, 3, 4))
    first.penalty(0, Waves(), BOX.grid(64)).backward()
    assert torch.equal(before, torch.random.get_rng_state())
    pairs = zip(first.parameters(), same.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_what_g_returns_is_bounded_so_that_logits_stay_below_the_rank():
    module = module_of(Waves(), rank=7)
    for p in module.parameters():
        p.data.mul_(100.0)
    assert module.networks[0](drawn(50, 2)).abs().max() <= 1.0


def test_g_has_its_own_learning_rate():
    assert module_of(Waves(), lr=0.1).adam == AdamSettings(lr_scale=0.1)


def test_a_field_without_values_is_refused():
    with pytest.raises(ValueError, match="Linear has none of values, sdf and density"):
        module_of(nn.Linear(2, 1))
