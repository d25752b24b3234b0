"""Table 1 of FINER++ against its published code, told again in tools/bench/published.py: all but chance is the same.

From the same weights: values, gradients, and losses under the same optimiser and schedule. Weights themselves come from
the same distributions. What longer runs score is tools/bench/parity.py's question.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torch import Tensor

from fieldengine.config import document
from fieldengine.config.scene import SceneConfig, read_scene
from fieldengine.fields.mlp import MLP
from fieldengine.precision import matrix_products
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.loop import Progress, train
from fieldengine.types import Batch, Points, RunContext

ROOT = Path(__file__).resolve().parents[2]
TABLE = document.read(ROOT / "scenes" / "papers" / "finerpp_table1.yaml").plain()
STEPS = 5


def loaded(path: Path) -> Any:
    """The module of a file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


published = loaded(ROOT / "tools" / "bench" / "published.py")


def image() -> np.ndarray:
    """16 high and 24 wide: were rows and columns confused, all would differ."""
    y, x = np.mgrid[0:16, 0:24] / 23
    waves = np.stack([np.sin(40 * x * y), np.sin(9 * x - 20 * y * y), np.cos(12 * x) * y], axis=-1)
    return (127.5 + 127.5 * waves).round().astype(np.uint8)


def ours(name: str, folder: Path) -> tuple[SceneConfig, Fit]:
    """The row of the table, on the image."""
    iio.imwrite(folder / "image.png", image())
    (folder / "scene.yaml").write_text(document.write(TABLE["scene"]), encoding="utf-8")
    own = {"dataset.path": str(folder / "image.png"), "training.steps": STEPS, "training.log_every": 1}
    row = TABLE["grid"]["method"][published.METHODS[name].row]
    scene = read_scene(folder / "scene.yaml", {**row, **own})
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
    return scene, build_fit(scene, build_dataset(scene, context), context)[0]


def as_ours(twins: Tensor, like: Tensor) -> Tensor:
    """Real and imaginary part as our layers keep them: along the first axis, or the real one alone."""
    parts = torch.view_as_real(twins).movedim(-1, 0) if twins.is_complex() else twins[None]
    return parts[: like.numel() // twins.numel()].reshape(like.shape)


def with_the_same_weights(name: str, folder: Path) -> tuple[SceneConfig, Fit, Any]:
    scene, fit = ours(name, folder)
    torch.manual_seed(1)
    twin = published.Twin(published.METHODS[name])
    with torch.no_grad():
        for own, its in zip(fit.field.parameters(), twin.parameters(), strict=True):
            own.copy_(as_ours(its, own))
    return scene, fit, twin


class InDouble:
    """Places and targets of a data set, to train on in double precision."""

    def __init__(self, dataset: Any):
        self.dataset, self.n_items, self.domain = dataset, dataset.n_items, dataset.domain

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        batch = self.dataset.batch(indices, generator)
        return Batch(Points(batch.items.positions.double()), batch.targets.double(), None, indices)


def in_double(twin: Any) -> Any:
    for parameter in twin.parameters():
        parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float64))
    return twin


def whole(fit: Fit) -> Batch:
    return fit.dataset.batch(torch.arange(fit.dataset.n_items), fit.context.generator)


names = pytest.mark.parametrize("name", published.METHODS)


def test_pixels_lie_in_the_same_places_and_have_the_same_colours(tmp_path: Path):
    batch = whole(ours("siren", tmp_path)[1])
    x, y = published.points(image())
    torch.testing.assert_close(batch.items.positions, x, rtol=0, atol=2e-7)
    torch.testing.assert_close(2 * batch.targets - 1, y, rtol=0, atol=2e-7)


@names
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-4), (torch.float64, 1e-10)], ids=str)
def test_the_same_weights_give_the_same_values_and_gradients(
    name: str, dtype: torch.dtype, tolerance: float, tmp_path: Path
):
    _, fit, twin = with_the_same_weights(name, tmp_path)
    if dtype == torch.float64:
        fit.field.double()
        in_double(twin)
    batch = whole(fit)
    x, targets = batch.items.positions.to(dtype), batch.targets.to(dtype)
    fit.field.train()  # the published gradients are those of training
    with matrix_products("float32", fit.context.device):
        values = fit.field(x)
        (values - targets).square().mean().backward()
    its = twin(x)
    (its - (2 * targets - 1)).square().mean().backward()
    torch.testing.assert_close(values, 0.5 * its + 0.5, rtol=0, atol=tolerance)
    for own, other in zip(fit.field.parameters(), twin.parameters(), strict=True):
        wanted = as_ours(other.grad, own) / 4  # values of half the range have a loss of a quarter
        assert own.grad is not None
        assert float((own.grad - wanted).norm()) < tolerance * float(wanted.norm())


class Losses:
    """Follows a training and keeps its losses."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def stepped(self, step: int, loss: float, psnr: float, seconds: float) -> None:
        self.found.append(loss)

    def logged(self, line: dict[str, Any]) -> None: ...

    def checkpoint(self, step: int, state: dict[str, Any]) -> None: ...


def losses_of(scene: SceneConfig, fit: Fit) -> list[float]:
    """Of values in [-1, 1], at each step."""
    losses = Losses()
    with matrix_products("float32", fit.context.device):
        train(fit, scene.training, scene.evaluation, Progress(), losses, dict)
    return [4 * loss for loss in losses.found]


@names
def test_five_steps_from_the_same_weights_have_the_same_losses(name: str, tmp_path: Path):
    # in double precision, for at their rate of 5e-3 Gauss and WIRE make per cents of float32's rounding; and Adam's
    # eps is small beside a gradient four times as large
    scene, fit, twin = with_the_same_weights(name, tmp_path)
    fit.field.double()
    fit.dataset = InDouble(fit.dataset)
    x, y = whole(fit).items.positions, 2 * whole(fit).targets - 1
    wanted = published.fit(in_double(twin), x, y, published.METHODS[name].lr, STEPS, eps=4e-8)
    assert losses_of(scene, fit) == pytest.approx(wanted, rel=1e-7)


@pytest.mark.parametrize("name", sorted(published.METHODS.keys() - {"gauss", "wire"}))
def test_five_steps_have_the_same_losses_as_people_run_them(name: str, tmp_path: Path):
    scene, fit, twin = with_the_same_weights(name, tmp_path)
    wanted = published.fit(twin, *published.points(image()), published.METHODS[name].lr, STEPS)
    assert losses_of(scene, fit) == pytest.approx(wanted, rel=1e-3)


@names
def test_weights_are_drawn_from_the_same_distributions(name: str, tmp_path: Path):
    scene, _ = ours(name, tmp_path)
    torch.manual_seed(0)
    options = {"width": scene.field.width, "depth": scene.field.depth, "activation": scene.field.activation}
    mlps = [MLP(2, 3, **options) for _ in range(20)]
    twins = [published.Twin(published.METHODS[name]) for _ in range(20)]
    like = list(mlps[0].parameters())
    for i, own in enumerate(zip(*(mlp.parameters() for mlp in mlps), strict=True)):
        a = torch.stack(own).detach()
        b = torch.stack([as_ours(list(twin.parameters())[i].detach(), like[i]) for twin in twins])
        n = a.numel()
        # of n numbers spread evenly the largest is short of the bound by 1/n of it or so, and the deviation strays by
        # 0.45 / sqrt(n) of it
        assert float(a.abs().max()) == pytest.approx(float(b.abs().max()), rel=12 / n + 1e-6)
        assert float(a.std()) == pytest.approx(float(b.std()), rel=3 / n**0.5)
        assert abs(float(a.mean() - b.mean())) < 4 * float(b.std()) * (2 / n) ** 0.5


def test_the_twins_functions_are_those_of_complex_arithmetic():
    u = torch.randn(2, 500, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 5
    u = torch.complex(*u).requires_grad_()
    wave = published.gabor(u, 20, 10)
    torch.testing.assert_close(wave, torch.exp(20j * u - (10 * u).abs() ** 2))
    sine = published.variable_sine(u, 5)
    v = torch.complex(*((part.detach().abs() + 1) * part for part in (u.real, u.imag)))
    torch.testing.assert_close(sine, torch.sin(5 * v))
    g = torch.complex(*torch.randn(2, 500, dtype=torch.float64))
    for found, wanted in ((wave, torch.exp(20j * u - (10 * u).abs() ** 2)), (sine, torch.sin(5 * v))):
        gradients = [torch.autograd.grad(y, u, g, retain_graph=True)[0] for y in (found, wanted)]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", published.METHODS)
def test_a_seed_draws_the_weights_that_it_draws_there(name: str, tmp_path: Path):
    _, fit = ours(name, tmp_path)
    torch.manual_seed(0)
    twin = published.Twin(published.METHODS[name])
    for own, other in zip(fit.field.parameters(), twin.parameters(), strict=True):
        assert torch.equal(own, as_ours(other, own))
