"""torch.compile: taken where it was asked for or pays, given up where it fails, and never a trace of the trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from fieldengine.config.scene import read_scene
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training import compiled
from fieldengine.training.compiled import CompiledField, choose_compiled
from fieldengine.training.fit import Fit
from fieldengine.training.step import training_step
from fieldengine.types import RunContext

Scene = Callable[[str], Path]
IMAGE = """
dataset: {type: image, path: photo.png}
field: {encoding: frequency, activation: siren, width: 16}
training: {batch_size: full, seed: 1}
"""


@pytest.fixture
def fit(scene: Scene, photo: Path) -> Fit:
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(1), 1)
    config = read_scene(scene(IMAGE))
    return build_fit(config, build_dataset(config, context), context)[0]


def pretend(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    """Nothing is compiled; tiles take what is said, first the field's own, then the compiled one's."""
    given = iter(seconds)
    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setattr(compiled, "seconds", lambda fit, n: next(given))


def on_a_gpu(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    context = RunContext(torch.device("cuda"), fit.context.generator, 1)
    vars(context)["device_generator"] = context.generator
    monkeypatch.setattr(fit, "context", context)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # as torch traces a function
def test_a_compiled_step_is_the_same_step(fit: Fit, monkeypatch: pytest.MonkeyPatch):
    weights = {name: tensor.clone() for name, tensor in fit.field.state_dict().items()}
    expected = training_step(fit, 0)
    gradients = [parameter.grad.clone() for parameter in fit.parameters if parameter.grad is not None]
    fit.field.load_state_dict(weights)
    traced = torch.compile  # its tracing, without machine code, which takes a minute
    monkeypatch.setattr(torch, "compile", lambda function: traced(function, backend="eager"))
    fit.traced = CompiledField(fit.field)
    found = training_step(fit, 0)
    torch.testing.assert_close(found.loss, expected.loss)
    for parameter, gradient in zip(fit.parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_on_compiles_and_says_what_it_gained(fit: Fit, monkeypatch: pytest.MonkeyPatch):
    pretend(monkeypatch, [2.0, 1.0])
    note = choose_compiled(fit, "on", 1)
    assert isinstance(fit.traced, CompiledField)
    assert note is not None
    assert "1000.0 ms instead of 2000.0" in note


@pytest.mark.parametrize(("wanted", "steps"), [("off", 10**6), ("auto", 10**6)])
def test_on_a_cpu_nothing_is_compiled_by_itself(fit: Fit, wanted: str, steps: int):
    assert choose_compiled(fit, wanted, steps) is None
    assert fit.traced is fit.field


@pytest.mark.parametrize(("steps", "after", "taken"), [(10, 0.1, False), (10**6, 0.1, True), (10**6, 2.0, False)])
def test_auto_compiles_where_there_is_time_to_save_and_it_is_saved(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, steps: int, after: float, taken: bool
):
    pretend(monkeypatch, [1.0, after])
    on_a_gpu(fit, monkeypatch)
    note = choose_compiled(fit, "auto", steps)
    assert (fit.traced is not fit.field) == taken
    assert (note is None) == (steps == 10)


def test_without_a_compiler_training_goes_on_and_says_so(fit: Fit, monkeypatch: pytest.MonkeyPatch):
    def fail(function: object) -> object:
        def answer(*_: object) -> None:
            raise TorchDynamoException("InvalidCxxCompiler: No working C++ compiler found\nand more")

        return answer

    monkeypatch.setattr(torch, "compile", fail)
    note = choose_compiled(fit, "on", 100)
    assert note == "not compiled, for torch.compile failed: InvalidCxxCompiler: No working C++ compiler found"
    assert fit.traced is fit.field
    training_step(fit, 0)


def test_a_trial_leaves_no_trace(fit: Fit, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    before = fit.context.generator.get_state()
    choose_compiled(fit, "on", 10)
    assert torch.equal(fit.context.generator.get_state(), before)
    assert all(parameter.grad is None for parameter in fit.parameters)
