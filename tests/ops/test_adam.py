"""Adam for tables: torch's own where everything is touched, nothing at all where nothing is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fieldengine.ops import adam_where_touched

SETTINGS = {"lr": 0.05, "betas": (0.9, 0.99), "eps": 1e-10}
DTYPES = [torch.float32, torch.float64]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def fresh(dtype: torch.dtype = torch.float64, rows: int = 40) -> list[Tensor]:
    """A table of `rows` x 2, its moments and its steps."""
    return [random(rows, 2, dtype=dtype), *(torch.zeros(rows, 2, dtype=dtype) for _ in range(3))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_where_every_number_is_touched_it_is_torchs_adam(dtype: torch.dtype, weight_decay: float):
    tables = fresh(dtype)
    theirs = torch.nn.Parameter(tables[0].clone())
    optimizer = torch.optim.Adam([theirs], **SETTINGS, weight_decay=weight_decay)
    for step in range(30):
        gradient = random(40, 2, seed=step, dtype=dtype)
        theirs.grad = gradient.clone()
        optimizer.step()
        adam_where_touched(tables[0], gradient, *tables[1:], **SETTINGS, weight_decay=weight_decay)
    bounds = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-11}
    torch.testing.assert_close(tables[0], theirs.detach(), **bounds)
    assert (tables[3] == 30).all()


def test_a_number_moves_as_if_the_steps_that_did_not_touch_it_had_not_been():
    often, alone = fresh(), fresh()
    for step in range(12):
        gradient = random(40, 2, seed=step)
        if step % 3:
            gradient[7] = 0
        adam_where_touched(often[0], gradient, *often[1:], **SETTINGS)
        if step % 3 == 0:
            adam_where_touched(alone[0], gradient, *alone[1:], **SETTINGS)
    for a, b in zip(often, alone, strict=True):
        torch.testing.assert_close(a[7], b[7])
    assert (often[3][7] == 4).all()
    assert (often[3][8] == 12).all()


def test_many_steps_do_not_run_past_the_table_of_corrections():
    tables = fresh()
    tables[3].fill_(1e6)
    before = tables[0].clone()
    adam_where_touched(tables[0], torch.ones(40, 2, dtype=torch.float64), *tables[1:], **SETTINGS)
    # no correction is left: m = 0.1, v = 0.01
    torch.testing.assert_close(tables[0], before - 0.05 * 0.1 / 0.1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("keeps_sums", [False, True])
def test_a_sparse_gradient_is_the_dense_one_whose_entries_add_up(dtype: torch.dtype, keeps_sums: bool):
    dense, sparse = fresh(dtype), fresh(dtype)
    sums = torch.zeros_like(sparse[0]) if keeps_sums else None
    for step in range(8):
        rows = torch.randint(0, 36, (25,), generator=torch.Generator().manual_seed(step))
        values = random(25, 2, seed=step, dtype=dtype)
        gradient = torch.zeros(40, 2, dtype=dtype).index_add(0, rows, values)
        adam_where_touched(dense[0], gradient, *dense[1:], **SETTINGS)
        given = torch.sparse_coo_tensor(rows[None], values, (40, 2), check_invariants=True)
        adam_where_touched(sparse[0], given, *sparse[1:], **SETTINGS, sums=sums)
    bounds = {"rtol": 2e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-11}
    for a, b in zip(dense, sparse, strict=True):
        torch.testing.assert_close(a, b, **bounds)
    assert sums is None or not sums.any()
    assert (sparse[3] == 0).any(), "some rows were never touched"
