"""Twins give the reference's numbers and gradients, whatever the input, the precision and the number of threads."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import fieldengine.ops as ops
from fieldengine.errors import FieldEngineError
from fieldengine.ops import backends
from fieldengine.types import Aabb, Rays, Samples

OPS = Path(ops.__file__).parent
EXACT = {torch.float32: {"rtol": 2e-5, "atol": 2e-6}, torch.float64: {"rtol": 1e-9, "atol": 1e-11}}
# in test_adam.py, test_dense.py, test_formula.py and test_hash_grid.py, which run on both
COMPARED_ELSEWHERE = {"adam_where_touched", "dense", "pointwise", "table_gradients"}
DTYPES = [torch.float32, torch.float64]


@pytest.fixture
def kernels() -> None:
    """This file compares the two itself."""


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def rays(n: int, dtype: torch.dtype) -> Rays:
    """From around the unit box; some miss it, some run in its faces or along an axis."""
    origins = 4 * random(n, 3, dtype=dtype) - 2
    towards = random(n, 3, dtype=dtype, seed=1) - 0.5 - 0.4 * origins
    towards[: n // 10, 0] = 0
    origins[: n // 20, 0] = 1
    return Rays(origins, torch.nn.functional.normalize(towards, dim=-1))


def packed(dtype: torch.dtype, n_rays: int = 300) -> Samples:
    """Rays of 0 to 30 samples."""
    counts = torch.randint(0, 30, (n_rays,), generator=torch.Generator().manual_seed(2))
    counts[::7] = 0
    indices = torch.arange(n_rays).repeat_interleave(counts)
    borders = random(2 * len(indices), dtype=dtype, seed=3).cumsum(0) * 0.1
    return Samples(borders[::2], borders[1::2], indices, n_rays)


def box(dtype: torch.dtype) -> Aabb:
    return Aabb(torch.tensor([-1.0, -1, -1], dtype=dtype), torch.tensor([1.0, 1, 1.5], dtype=dtype))


def marched(dtype: torch.dtype) -> tuple[tuple[Any, ...], dict[str, Any]]:
    some = rays(400, dtype)
    inside = ops.intersect_aabb.reference(some, box(dtype))
    occupied = random(16, 16, 16, seed=4) < 0.3
    keys = {"step": 0.01, "aabb": box(dtype), "occupied": occupied, "jitter": random(400, dtype=dtype, seed=5)}
    return (some, *inside), keys


def alpha_with_ones(dtype: torch.dtype) -> Tensor:
    alpha = random(len(packed(dtype)), dtype=dtype, seed=6)
    alpha[::5], alpha[1::5] = 1.0, 0.0
    return alpha


def cases(dtype: torch.dtype) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Each function with arguments; tensors that carry gradient come last."""
    samples = packed(dtype)
    m, n, index = len(samples), samples.n_rays, samples.ray_indices
    yield "exclusive_sum", (random(m, dtype=dtype), index, n), {}
    yield "sum_by_ray", (random(m, 3, dtype=dtype), index, n), {}
    yield "sum_by_ray", (random(m, dtype=dtype), index, n), {}
    yield "argmax_by_ray", ((4 * random(m, dtype=dtype)).round(), index, n), {}
    yield "weights_from_density", (samples, 40 * random(m, dtype=dtype)), {}
    yield "weights_from_alpha", (samples, alpha_with_ones(dtype)), {}
    yield "accumulate", (samples, random(m, dtype=dtype), random(m, 3, dtype=dtype, seed=7)), {}
    yield "intersect_aabb", (rays(500, dtype), box(dtype), 0.1), {}
    yield "march", *marched(dtype)
    weights = (random(50, 9, dtype=dtype) - 0.3).clamp(min=0)
    weights[3] = 0
    borders = random(50, 10, dtype=dtype, seed=8).cumsum(1)
    yield "sample_pdf", (borders, weights, 20), {}
    yield "sample_pdf", (borders, weights, 20, random(50, 20, dtype=dtype, seed=9)), {}
    item, entry = (random(700, seed=s).mul(high).long() for s, high in ((11, 40), (12, 90)))
    yield "sparse_gram", (item, entry, random(700, 2, dtype=dtype, seed=13)), {"n": 40}
    for dim in (1, 2, 3, 4):
        levels = ops.grid_levels(dim, 3, 2, {1: 60, 2: 12, 3: 8, 4: 6}[dim], 5)
        for features in (1, 2, 4, 8) if dim == 3 and dtype == torch.float64 else (2,):  # each is compiled anew
            for smooth in (False, True):
                table = random(levels[-1].offset + levels[-1].size, features, dtype=dtype) - 0.5
                x = 1.4 * random(300, dim, dtype=dtype, seed=10) - 0.2
                yield "hash_encode", (x, table, levels), {"smooth": smooth}


def flat(found: Any) -> list[Tensor]:
    """Every tensor of a result."""
    if isinstance(found, Tensor):
        return [found]
    parts = found if isinstance(found, tuple) else [v for v in vars(found).values() if isinstance(v, Tensor)]
    return [tensor for part in parts for tensor in flat(part)]


def outcome(function: Callable[..., Any], arguments: tuple[Any, ...], keys: dict[str, Any]) -> list[Tensor]:
    """Results, and gradients of a function of them in every argument that can carry one."""
    leaves = [a.clone().requires_grad_() for a in arguments if isinstance(a, Tensor) and a.is_floating_point()]
    left = iter(leaves)
    given = [next(left) if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments]
    outputs = flat(function(*given, **keys))
    total = sum((y.sin().sum() for y in outputs if y.requires_grad), torch.zeros(()))
    gradients = torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else ()
    return [*(y.detach() for y in outputs), *(g for g in gradients if g is not None)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_twin_gives_the_numbers_and_gradients_of_its_reference(dtype: torch.dtype):
    for name, arguments, keys in cases(dtype):
        function = getattr(ops, name)
        ours, theirs = outcome(function, arguments, keys), outcome(function.reference, arguments, keys)
        assert len(ours) == len(theirs), name
        for mine, wanted in zip(ours, theirs, strict=True):
            assert mine.dtype == wanted.dtype
            bounds = {"rtol": 1e-4, "atol": 1e-5} if name == "sample_pdf" and dtype == torch.float32 else EXACT[dtype]
            torch.testing.assert_close(mine, wanted, **bounds, msg=lambda text, name=name: f"{name}: {text}")


def operations() -> set[str]:
    """The functions below @operation in the sources."""
    return {
        f"{path.stem}.{node.name}"
        for path in OPS.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and any(getattr(d, "id", "") == "operation" for d in node.decorator_list)
    }


def test_every_operation_has_a_twin_for_the_cpu_and_is_compared_above():
    compared = {name for name, _, _ in cases(torch.float64)}
    assert len(operations()) > 8
    for full in operations():
        module, name = full.split(".")
        assert callable(getattr(import_module(f"fieldengine.ops.cpu.{module}"), name))
        assert name in compared or name in COMPARED_ELSEWHERE


def test_results_do_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3, 64):
            torch.set_num_threads(threads)
            found.append([t for name, a, k in cases(torch.float32) for t in outcome(getattr(ops, name), a, k)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for mine, wanted in zip(other, found[0], strict=True):
            assert torch.equal(mine, wanted)


def test_several_threads_may_call_at_once():
    (_, arguments, keys) = next(case for case in cases(torch.float32) if case[0] == "march")
    wanted = flat(ops.march(*arguments, **keys))
    found: list[list[Tensor]] = []

    def work() -> None:
        found.extend(flat(ops.march(*arguments, **keys)) for _ in range(5))

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 30
    assert all(torch.equal(a, b) for result in found for a, b in zip(result, wanted, strict=True))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_second_derivatives_of_the_hash_grid_are_those_of_finite_differences(dim: int, smooth: bool):
    levels = ops.grid_levels(dim, 2, 2, 5, 4)
    table = (random(levels[-1].offset + levels[-1].size, 2, dtype=torch.float64) - 0.5).requires_grad_()
    x = random(2, dim, dtype=torch.float64, seed=1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, t: ops.hash_encode(x, t, levels, smooth=smooth), (x, table))


def test_third_derivatives_of_the_hash_grid_are_those_of_the_reference():
    levels = ops.grid_levels(3, 3, 2, 8, 5)
    table = (random(levels[-1].offset + levels[-1].size, 2, dtype=torch.float64) - 0.5).requires_grad_()
    x = random(20, 3, dtype=torch.float64, seed=1).requires_grad_()

    def third(encode: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        y = encode(x, table, levels, smooth=True)
        (slope,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        bend = torch.autograd.grad(slope.square().sum(), (x, table), create_graph=True)
        return torch.autograd.grad(sum(b.square().sum() for b in bend), (x, table))

    for mine, wanted in zip(third(ops.hash_encode), third(ops.hash_encode.reference), strict=True):
        torch.testing.assert_close(mine, wanted)


def test_the_gradient_of_a_weights_gradient_is_the_references():
    samples = packed(torch.float64, 40)
    alpha = (0.9 * random(len(samples), dtype=torch.float64)).requires_grad_()

    def second(weights: Callable[..., Tensor]) -> Tensor:
        (slope,) = torch.autograd.grad(weights(samples, alpha).sin().sum(), alpha, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), alpha)[0]

    torch.testing.assert_close(second(ops.weights_from_alpha), second(ops.weights_from_alpha.reference))


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own
def test_the_hash_grid_has_a_forward_derivative():
    levels = ops.grid_levels(2, 3, 2, 8, 5)
    table, x = random(levels[-1].offset + levels[-1].size, 2, dtype=torch.float64), random(20, 2, dtype=torch.float64)
    ways = random(*x.shape, dtype=torch.float64, seed=1), random(*table.shape, dtype=torch.float64, seed=2)

    def forward(encode: Callable[..., Tensor]) -> Tensor:
        with forward_ad.dual_level():
            dual = (forward_ad.make_dual(value, way) for value, way in zip((x, table), ways, strict=True))
            return forward_ad.unpack_dual(encode(*dual, levels)).tangent

    torch.testing.assert_close(forward(ops.hash_encode), forward(ops.hash_encode.reference))


@pytest.mark.parametrize("switch", ["numba", "reference"])
def test_a_position_that_is_not_a_number_gives_features_that_are_none_and_harms_nothing_else(
    switch: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(backends.SWITCH, switch)
    levels = ops.grid_levels(3, 4, 4, 40, 8)
    table = random(levels[-1].offset + levels[-1].size, 2)
    x = random(200, 3)
    clean = ops.hash_encode(x, table, levels)
    x[7, 1], x[9, 0], x[11, 2] = float("nan"), float("inf"), -float("inf")
    found = ops.hash_encode(x, table, levels)
    assert found[7].isnan().all()
    assert found[[9, 11]].isfinite().all()
    others = [i for i in range(200) if i not in (7, 9, 11)]
    assert torch.equal(found[others], clean[others])


@pytest.mark.parametrize("n", [0, 1, 2, 127, 128, 129])
def test_any_number_of_positions_is_encoded(n: int):
    levels = ops.grid_levels(3, 4, 4, 40, 8)
    table = random(levels[-1].offset + levels[-1].size, 2).requires_grad_()
    x = random(n, 3)
    for encode in (ops.hash_encode, ops.hash_encode.reference):
        found = encode(x, table, levels)
        assert found.shape == (n, 8)
        found.sum().backward()


def test_a_table_of_one_entry_is_a_constant():
    levels = ops.grid_levels(3, 1, 4, 4, 0)
    table = torch.tensor([[0.5, -2.0]], requires_grad=True)
    for encode in (ops.hash_encode, ops.hash_encode.reference):
        found = encode(random(50, 3), table, levels)
        torch.testing.assert_close(found, table.detach().expand(50, 2))
        (gradient,) = torch.autograd.grad(found.sum(), table)
        torch.testing.assert_close(gradient, torch.full((1, 2), 50.0))


def test_tensors_of_two_precisions_go_to_the_reference():
    levels = ops.grid_levels(2, 2, 2, 5, 4)
    table = random(levels[-1].offset + levels[-1].size, 2)
    assert ops.hash_encode(random(5, 2, dtype=torch.float64), table, levels).dtype == torch.float64


def touched(n: int, sparse: bool, log2_table: int = 12) -> Tensor:
    """The gradient of a table of about 30 000 rows from n points."""
    levels = ops.grid_levels(3, 8, 8, 200, log2_table)
    table = random(levels[-1].offset + levels[-1].size, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(ops.hash_encode(random(n, 3), table, levels, sparse=sparse).sin().sum(), table)
    return gradient


def test_a_sparse_gradient_is_given_where_it_is_wanted_and_few_entries_are_touched():
    assert touched(20, sparse=True).is_sparse
    assert not touched(20, sparse=False).is_sparse
    assert not touched(20_000, sparse=True).is_sparse
    torch.testing.assert_close(touched(20, sparse=True).to_dense(), touched(20, sparse=False))


def test_a_sparse_gradient_adds_to_another_and_to_a_dense_one():
    levels = ops.grid_levels(3, 8, 8, 200, 12)
    table = random(levels[-1].offset + levels[-1].size, 2).requires_grad_()
    total = torch.zeros_like(table)
    for n in (10, 20, 20_000, 5):
        x = random(n, 3, seed=n)
        ops.hash_encode(x, table, levels, sparse=True).sum().backward()
        total += torch.autograd.grad(ops.hash_encode.reference(x, table, levels).sum(), table)[0]
    assert table.grad is not None
    torch.testing.assert_close(table.grad.to_dense() if table.grad.is_sparse else table.grad, total)


def test_what_is_not_contiguous_is_read_rightly():
    levels = ops.grid_levels(3, 3, 2, 12, 6)
    table = random(levels[-1].offset + levels[-1].size, 4)[:, ::2]
    x = random(3, 100).t()
    torch.testing.assert_close(ops.hash_encode(x, table, levels), ops.hash_encode.reference(x, table, levels))


def test_without_numba_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    backends.twins.cache_clear()
    for name in [name for name in sys.modules if name.startswith("fieldengine.ops.cpu")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    index = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(FieldEngineError, match=r"pip install numba.*FIELDENGINE_KERNELS=reference"):
        ops.sum_by_ray(torch.ones(3), index, 1)
    monkeypatch.setenv(backends.SWITCH, "reference")
    assert ops.sum_by_ray(torch.ones(3), index, 1).tolist() == [3.0]
    backends.twins.cache_clear()


ENCODE = """
import torch
from fieldengine.ops import sum_by_ray
from fieldengine.ops.cpu import scan
print(sum_by_ray(torch.ones(3), torch.zeros(3, dtype=torch.int64), 1).tolist(), scan._sum.stats.cache_path)
"""


def test_where_nothing_can_be_written_machine_code_goes_to_a_private_temporary_folder(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("a folder cannot be made below a file")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "TMPDIR": str(temporary)}
    env.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", ENCODE], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[3.0]")
    (folder,) = temporary.iterdir()
    assert str(folder) in done.stdout
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_temporary_folder_that_others_can_write_to_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from fieldengine.ops.cpu import jit

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    foreign = tmp_path / f"fieldengine-kernels-{os.getuid()}"
    foreign.mkdir()
    foreign.chmod(0o777)
    chosen = Path(jit._private_folder.__wrapped__())
    assert chosen != foreign
    assert stat.S_IMODE(chosen.stat().st_mode) == 0o700
