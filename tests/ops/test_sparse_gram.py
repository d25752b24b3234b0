"""The Gram matrix of sparse rows, against that of the rows written out."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import Tensor

from fieldengine.ops import sparse_gram

FILE = import_module("fieldengine.ops.sparse_gram")


def rows(m: int, n: int, entries: int, features: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(m)
    item, entry = (torch.randint(high, (m,), generator=drawn) for high in (n, entries))
    return item, entry, torch.randn(m, features, dtype=torch.float64, generator=drawn)


@pytest.mark.parametrize("most", [FILE.MOST, 7])
@pytest.mark.parametrize(("m", "entries", "features"), [(400, 30, 2), (400, 5000, 1), (300, 1, 3), (1, 9, 2)])
def test_it_is_that_of_the_rows_written_out(m: int, entries: int, features: int, most: int, monkeypatch):
    """Places that occur more than once, entries that one item or every item has, items with nothing."""
    monkeypatch.setattr(FILE, "MOST", most)
    n = 23
    item, entry, values = rows(m, n - 1, entries, features)
    written_out = torch.zeros(n, entries, features, dtype=torch.float64)
    written_out.index_put_((item, entry), values, accumulate=True)
    expected = written_out.flatten(1) @ written_out.flatten(1).t()
    torch.testing.assert_close(sparse_gram(item, entry, values, n), expected)


def test_entries_may_have_any_number():
    item, entry, values = rows(50, 5, 9)
    torch.testing.assert_close(sparse_gram(item, entry * 2**58 - 2**60, values, 5), sparse_gram(item, entry, values, 5))


def test_nothing_has_no_products():
    assert sparse_gram(*rows(0, 3, 4), 3).tolist() == [[0.0] * 3] * 3
    assert sparse_gram(*rows(0, 3, 4), 0).shape == (0, 0)
