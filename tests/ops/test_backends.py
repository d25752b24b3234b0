"""The table of backends: what comes first, what takes over where a twin is missing, and what is said to have run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import fieldengine.ops as ops
from fieldengine.errors import FieldEngineError
from fieldengine.ops import backends
from fieldengine.ops.backends import BACKENDS, SWITCH, Backend, Record
from fieldengine.types import Samples

RAYS = torch.tensor([0, 0, 1])
VALUES = torch.tensor([1.0, 2.0, 4.0])
TOY = torch.tensor([-1.0, -1.0])  # what no other backend would answer


@pytest.fixture
def kernels() -> None:
    """This file sets the switch itself."""


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test does to the table is forgotten."""
    monkeypatch.delenv(SWITCH, raising=False)
    backends.twins.cache_clear()
    yield
    backends.twins.cache_clear()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A backend from outside, with one twin: `sum_by_ray`, for two rays."""
    scan: Any = ModuleType("toy.scan")
    scan.sum_by_ray = lambda values, ray_indices, n_rays: TOY if n_rays == 2 else NotImplemented
    monkeypatch.setitem(sys.modules, "toy.scan", scan)
    monkeypatch.setitem(BACKENDS, "toy", Backend("cpu", "toy"))
    return scan


def ran(switch: str, monkeypatch: pytest.MonkeyPatch, n_rays: int = 2) -> tuple[Tensor, dict[str, str]]:
    """The sums that come out, and who ran two operations."""
    monkeypatch.setenv(SWITCH, switch)
    with Record() as record:
        sums = ops.sum_by_ray(VALUES, RAYS, n_rays)
        assert ops.argmax_by_ray(VALUES, RAYS, n_rays)[:2].tolist() == [1, 2]
    return sums, record.by_operation()


@pytest.mark.parametrize(
    ("switch", "sums", "largest"),
    [
        ("", "numba", "numba"),
        (" , ", "numba", "numba"),
        ("numba", "numba", "numba"),
        ("toy", "toy", "reference"),
        ("toy,numba", "toy", "numba"),
        (" toy , numba ", "toy", "numba"),
        ("numba,toy", "numba", "numba"),
        ("triton", "reference", "reference"),
        ("triton,toy", "toy", "reference"),
        ("reference", "reference", "reference"),
        ("toy,reference,numba", "toy", "reference"),
    ],
)
@pytest.mark.usefixtures("toy")
def test_the_first_backend_that_is_named_and_has_a_twin_runs(
    switch: str, sums: str, largest: str, monkeypatch: pytest.MonkeyPatch
):
    found, who = ran(switch, monkeypatch)
    assert who == {"argmax_by_ray": largest, "sum_by_ray": sums}
    assert torch.equal(found, TOY if sums == "toy" else torch.tensor([3.0, 4.0]))


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(("switch", "sums"), [("toy", "reference"), ("toy,numba", "numba")])
def test_arguments_that_do_not_suit_a_twin_go_to_the_next(switch: str, sums: str, monkeypatch: pytest.MonkeyPatch):
    found, who = ran(switch, monkeypatch, n_rays=3)
    assert who["sum_by_ray"] == sums
    assert found.tolist() == [3.0, 4.0, 0.0]


@pytest.mark.usefixtures("toy")
def test_without_a_switch_a_backend_takes_what_those_before_it_leave(monkeypatch: pytest.MonkeyPatch):
    formula: Any = ModuleType("toy.formula")
    formula.pointwise = lambda u, function: TOY
    monkeypatch.setitem(sys.modules, "toy.formula", formula)
    few = torch.zeros(2)  # for which numba is not worth it
    assert ops.pointwise(few, ops.RealFunction(torch.sin, torch.cos)) is TOY


@pytest.mark.usefixtures("toy")
def test_a_backend_is_asked_about_tensors_on_its_own_device_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(BACKENDS, "toy", Backend("meta", "toy"))
    assert torch.equal(ops.sum_by_ray(VALUES.to("meta"), RAYS.to("meta"), 2), TOY)
    assert ops.sum_by_ray(VALUES, RAYS, 2).tolist() == [3.0, 4.0]


def test_tensors_of_two_precisions_or_of_half_go_to_the_reference():
    with Record() as record:
        ops.accumulate(Samples(VALUES, VALUES + 1, RAYS, 2), VALUES, torch.ones(3, 3, dtype=torch.float64))
        ops.sum_by_ray(VALUES.half(), RAYS, 2)
    assert record.by_operation() == {"accumulate": "reference", "sum_by_ray": "reference"}


def test_under_autocast_half_precision_becomes_float32_before_a_backend_is_chosen():
    with torch.autocast("cpu", torch.bfloat16), Record() as record:
        assert ops.sum_by_ray(VALUES.bfloat16(), RAYS, n_rays=2).dtype == torch.float32
    assert record.by_operation() == {"sum_by_ray": "numba"}


@pytest.mark.parametrize("switch", ["twin", "numba,Triton", "numba;triton"])
def test_an_unknown_backend_is_refused_with_those_that_are_known(switch: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SWITCH, switch)
    with pytest.raises(FieldEngineError, match=f"^{SWITCH}={switch}: .*reference, numba, triton"):
        ops.sum_by_ray(VALUES, RAYS, 2)


@pytest.mark.parametrize(
    ("package", "line"),
    [("lame", "import a_library_that_is_not_here"), ("halt", "from halt import a_name_that_is_gone")],
)
def test_a_backend_that_cannot_be_imported_is_an_error_and_not_left_out(
    package: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / package).mkdir()
    (tmp_path / package / "scan.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACKENDS, package, Backend("cpu", package))
    monkeypatch.setenv(SWITCH, package)
    with pytest.raises(FieldEngineError, match=rf"{line.split()[-1]}.*pip install {package}.*=reference"):
        ops.sum_by_ray(VALUES, RAYS, 2)
    assert ops.sparse_gram(RAYS, RAYS, VALUES[:, None], 2).shape == (2, 2), "it has no file for this one"


@pytest.mark.usefixtures("toy")
def test_a_record_holds_what_ran_while_it_was_open_sorted_by_name(monkeypatch: pytest.MonkeyPatch):
    with Record() as outer:
        ran("toy", monkeypatch)
        with Record() as inner:
            ops.exclusive_sum(VALUES, RAYS, 2)
        ran("numba", monkeypatch)
    ops.sparse_gram(RAYS, RAYS, VALUES[:, None], 2)
    assert inner.by_operation() == {"exclusive_sum": "reference"}
    assert list(outer.by_operation().items()) == [
        ("argmax_by_ray", "numba,reference"),
        ("exclusive_sum", "reference"),
        ("sum_by_ray", "numba,toy"),
    ]


def test_a_record_is_closed_by_an_error_too():
    record = Record()
    with pytest.raises(ZeroDivisionError), record:
        raise ZeroDivisionError
    ops.sum_by_ray(VALUES, RAYS, 2)
    assert record.by_operation() == {}
