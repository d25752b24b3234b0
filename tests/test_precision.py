"""Matrix products: exact where they are said to be, and torch's own setting is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

import fieldengine
from fieldengine.precision import matrix_products

CPU = torch.device("cpu")


@pytest.mark.parametrize("before", ["highest", "high", "medium"])
@pytest.mark.parametrize("precision", ["float32", "auto", "fast"])
def test_the_setting_of_torch_is_put_back(before: str, precision: str):
    own = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(before)
        with matrix_products(precision, CPU):
            pass
        assert torch.get_float32_matmul_precision() == before
        with pytest.raises(KeyError), matrix_products(precision, CPU):
            raise KeyError
        assert torch.get_float32_matmul_precision() == before
    finally:
        torch.set_float32_matmul_precision(own)


@pytest.mark.parametrize("shape", [(4096, 256, 256), (1000, 64, 3), (65_536, 32, 64), (5, 2, 256)])
def test_products_that_are_said_to_be_float32_are(shape: tuple[int, int, int]):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(*s, generator=generator) for s in (shape[:2], shape[1:]))
    with matrix_products("float32", CPU):
        found = a @ b
    exact = a.double() @ b.double()
    scale = a.double().abs() @ b.double().abs()  # what rounding is relative to
    assert float(((found - exact).abs() / scale).max()) < 1e-6


def test_a_field_is_scored_in_float32_however_it_was_trained(
    scene: Callable[[str], Path], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def recorded(precision: str, device: torch.device) -> AbstractContextManager[None]:
        asked.append(precision)
        return matrix_products(precision, device)

    monkeypatch.setattr("fieldengine.fitting.matrix_products", recorded)
    path = scene("dataset: {type: image, path: photo.png}\ntraining: {steps: 2, precision: fast}\n")
    fieldengine.train(path, out=tmp_path / "run")
    assert asked == ["fast", "float32"]
