"""Matrix products: exact where they are said to be, and torch's own setting is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

import fieldengine
from fieldengine.fields.mlp import MLP
from fieldengine.precision import matrix_products
from fieldengine_plugins.activations.siren import Siren

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

    monkeypatch.setattr("fieldengine.runs.train.matrix_products", recorded)
    path = scene("dataset: {type: image, path: photo.png}\ntraining: {steps: 2, precision: fast}\n")
    fieldengine.train(path, out=tmp_path / "run")
    assert asked == ["fast", "float32"]


def test_half_precision_leaves_phases_values_and_narrow_layers_alone():
    torch.manual_seed(0)
    mlp = MLP(2, 3, width=64, depth=2, activation=Siren())
    x = torch.rand(100, 2) * 2 - 1
    exact = mlp(x)
    seen: list[tuple[torch.dtype, torch.dtype]] = []
    for layer in mlp.layers:
        layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    with matrix_products("half", CPU):
        half = mlp(x)
    assert [output for _, output in seen] == [torch.float32] * 3  # a function's values, and colours
    assert half.dtype == torch.float32
    assert seen[0][0] == torch.float32
    error = float((half - exact).abs().mean().detach() / exact.abs().mean().detach())
    assert 1e-4 < error < 0.2  # phases that were rounded to bfloat16 on the way


def test_half_precision_ends_with_the_block_and_inside_a_float32_one():
    with matrix_products("half", CPU):
        assert torch.is_autocast_enabled("cpu")
        with matrix_products("float32", CPU):
            assert not torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("precision", "activation"),
    # not WIRE at half: steep functions fit the rounding of their phases, and mean little in float32
    [("float32", "siren"), ("auto", "siren"), ("fast", "siren"), ("half", "siren"), ("half", "relu"), ("auto", "wire")],
)
def test_every_precision_trains(
    precision: str, activation: str, scene: Callable[[str], Path], photo: Path, tmp_path: Path
):
    path = scene(
        "dataset: {type: image, path: photo.png}\n"
        f"field: {{encoding: frequency, activation: {activation}, width: 96}}\n"
        f"training: {{steps: 60, precision: {precision}, lr: 2.e-3}}\n"
    )
    run = fieldengine.train(path, out=tmp_path / "run")
    short = fieldengine.train(path, {"training.steps": 1}, out=tmp_path / "short")
    assert run.metrics["psnr"] > short.metrics["psnr"] + 3
