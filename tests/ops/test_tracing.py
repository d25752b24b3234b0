"""Under torch.compile twins run as ever, with equal results, gradients and gradients of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fieldengine.ops as ops
from fieldengine.errors import FieldEngineError
from fieldengine.ops import backends
from fieldengine.ops.backends import Record
from fieldengine.ops.cpu import compositing, hash_grid
from fieldengine.types import Aabb, Rays, Samples

# torch's own, as it traces
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

N_RAYS, PER_RAY = 30, 20
LEVELS = ops.grid_levels(3, n_levels=4, coarsest=4, finest=150, log2_table=17)


@pytest.fixture
def kernels() -> None:
    """This file sets the switch itself."""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test traces anew."""
    monkeypatch.delenv(backends.SWITCH, raising=False)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def value(u: Any, omega: float) -> Any:
    return ops.sin(omega * u)


def slope(u: Any, omega: float) -> Any:
    return omega * ops.cos(omega * u)


class Scene(nn.Module):
    """A small radiance field and its pictures: a hash grid, two layers, compositing."""

    def __init__(self, *, sparse: bool):
        super().__init__()
        self.sparse = sparse
        self.table = nn.Parameter(random(LEVELS[-1].offset + LEVELS[-1].size, 2) - 0.5)
        self.layers = nn.Sequential(ops.Dense(8, 32, ops.RealFunction(value, slope), 3.0), nn.Linear(32, 4))
        for number, parameter in enumerate(self.layers.parameters()):
            parameter.data = random(*parameter.shape, seed=number) - 0.5

    def forward(self, x: Tensor, samples: Samples) -> Tensor:
        features = ops.hash_encode(x, self.table, LEVELS, smooth=True, sparse=self.sparse)
        sigma, rgb = self.layers(2.0 * features).split([1, 3], dim=1)
        weights = ops.weights_from_density(samples, torch.exp(sigma[:, 0]))
        return torch.cat([part.flatten() for part in ops.composite(samples, weights, rgb.sigmoid(), None)])


def points() -> tuple[Tensor, Samples]:
    starts = torch.arange(N_RAYS * PER_RAY) * 0.01
    indices = torch.arange(N_RAYS).repeat_interleave(PER_RAY)
    return random(N_RAYS * PER_RAY, 3, seed=7).requires_grad_(), Samples(starts, starts + 0.01, indices, N_RAYS)


def gradients(scene: Scene, picture: Callable[..., Tensor], *, twice: bool) -> list[Tensor]:
    """What comes out; its gradients; if `twice`, those of the length of the gradient in x."""
    x, samples = points()
    inputs = [x, *scene.parameters()]
    pixels = picture(x, samples)
    first = torch.autograd.grad(pixels.square().sum(), inputs, create_graph=twice)
    second = torch.autograd.grad(first[0].square().sum(), inputs[:-1]) if twice else ()
    return [pixels.detach(), *first, *second]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_compiled_program_gives_the_same_numbers_and_gradients(backend: str, sparse: bool):
    scene = Scene(sparse=sparse)
    wanted = gradients(scene, scene, twice=False)
    found = gradients(scene, torch.compile(scene, backend=backend), twice=False)
    assert found[2].is_sparse == sparse
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.to_dense(), theirs.to_dense())


def test_second_derivatives_are_the_same_too():
    scene = Scene(sparse=False)
    wanted = gradients(scene, scene, twice=True)
    found = gradients(scene, torch.compile(scene, backend="eager"), twice=True)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_kernels_run_once_forward_and_once_back_in_every_call(backend: str, monkeypatch: pytest.MonkeyPatch):
    counts = dict.fromkeys(["gather", "scatter", "run_parts"], 0)

    def count(module: Any, name: str) -> None:
        function = getattr(module, name)

        def counted(*arguments: Any, **keys: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **keys)

        monkeypatch.setattr(module, name, counted)

    count(hash_grid, "gather")
    count(hash_grid, "scatter")
    count(compositing, "run_parts")  # weights and sums over rays
    scene = Scene(sparse=False)
    compiled = torch.compile(scene, backend=backend)
    for calls in (1, 2, 3):
        with Record() as record:
            gradients(scene, compiled, twice=False)
        assert counts == {"gather": calls, "scatter": calls, "run_parts": 4 * calls}
        assert record.by_operation() == {
            "accumulate": "numba",
            "dense": "reference",
            "hash_encode": "numba",
            "pointwise": "numba",
            "weights_from_density": "numba",
        }


def test_records_of_tensors_may_be_arguments():
    def ends(origins: Tensor, towards: Tensor, box: Aabb) -> Tensor:
        near, far = ops.intersect_aabb(Rays(origins, nn.functional.normalize(towards, dim=1)), box, 0.1)
        return far - near

    arguments = 4 * random(50, 3) - 2, random(50, 3, seed=1) - 0.5, Aabb.of([-1] * 3, [1] * 3)
    with Record() as record:
        found = torch.compile(ends, backend="aot_eager")(*arguments)
    assert record.by_operation() == {"intersect_aabb": "numba"}
    torch.testing.assert_close(found, ends(*arguments))


def test_a_reference_becomes_part_of_the_graph(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(backends.SWITCH, "reference")

    def total(values: Tensor, indices: Tensor) -> Tensor:
        return 2.0 * ops.sum_by_ray(values, indices, 3).square()

    arguments = random(20), torch.arange(20) // 7
    with Record() as record:
        found = torch.compile(total, backend="aot_eager", fullgraph=True)(*arguments)
    assert record.by_operation() == {"sum_by_ray": "reference"}
    torch.testing.assert_close(found, total(*arguments))


def test_an_exported_program_holds_the_reference():
    class Encoded(nn.Module):
        def forward(self, x: Tensor, table: Tensor) -> Tensor:
            return ops.hash_encode(x, table, LEVELS)

    arguments = random(5, 3), random(LEVELS[-1].offset + LEVELS[-1].size, 2)
    exported = torch.export.export(Encoded(), arguments).module()
    torch.testing.assert_close(exported(*arguments), Encoded()(*arguments))


def test_an_error_about_backends_reads_as_it_does_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(backends.SWITCH, "nonsense")
    compiled = torch.compile(lambda values: ops.sum_by_ray(values, torch.zeros(3).long(), 1), backend="eager")
    with pytest.raises(FieldEngineError, match="there is no backend 'nonsense'"):
        compiled(torch.ones(3))


def several(values: Tensor, indices: Tensor) -> Tensor:
    before = ops.exclusive_sum(values, indices, 3) + 1.0
    return ops.sum_by_ray(before, indices, 3) + ops.argmax_by_ray(before, indices, 3)


def test_operations_do_not_use_up_each_others_variants():
    compiled = torch.compile(several, backend="eager")
    with torch._dynamo.config.patch(recompile_limit=2, fail_on_recompile_limit_hit=True):
        for dtype in (torch.float32, torch.float64):
            compiled(random(20).to(dtype), torch.arange(20) // 7)


def test_where_torch_gives_up_compiling_variants_twins_still_run():
    compiled = torch.compile(several, backend="eager")
    with torch._dynamo.config.patch(recompile_limit=1), Record() as record:
        for dtype in (torch.float32, torch.float64):
            arguments = random(20).to(dtype), torch.arange(20) // 7
            torch.testing.assert_close(compiled(*arguments), several(*arguments))
    assert set(record.by_operation().values()) == {"numba"}
