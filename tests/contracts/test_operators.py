"""What every installed operator promises: measurements of the right shape, gradients, and their closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fieldengine
from fieldengine.config.scene import read_scene
from fieldengine.errors import FieldEngineError
from fieldengine.operators.line_integral import LineIntegral
from fieldengine.plugins.registry import Registry
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.step import training_step
from fieldengine.types import Aabb, Domain, Points, Rays, RunContext

REGISTRY = Registry()
PLANE, SPACE = (Domain("signal", Aabb.of([-1.0] * d, [1.0] * d), out_dim=1) for d in (2, 3))
STRANGER = """
    from dataclasses import dataclass

    import torch

    from fieldengine.api import Aabb, Batch, Domain, Points, Rays


    @dataclass(frozen=True)
    class Tomograph:
        '''Parallel beams through a disc of radius 0.5 and density 2, from many angles.'''

        default_field = "signal"
        default_renderer = "direct"

        angles: int = 12
        beams: int = 24

        def build(self):
            return Beams(self.angles, self.beams)


    class Beams:
        splits, surface = (), None

        def __init__(self, angles, beams):
            turn = torch.arange(angles)[:, None] * 3.14159265 / angles
            s = torch.linspace(-0.95, 0.95, beams).expand(angles, -1)
            ahead = torch.stack([turn.cos(), turn.sin()], -1).expand(angles, beams, 2)
            beside = torch.stack([-turn.sin(), turn.cos()], -1).expand(angles, beams, 2)
            self.rays = Rays((s[..., None] * beside).reshape(-1, 2), ahead.reshape(-1, 2).contiguous())
            self.sums = 2 * 2 * (0.25 - s.reshape(-1, 1) ** 2).clamp(min=0).sqrt()
            self.n_items = angles * beams
            self.domain = Domain("slice", Aabb.of([-1, -1], [1, 1]), out_dim=1)

        def batch(self, indices, generator):
            return Batch(self.rays[indices], self.sums[indices], None, indices)

        def views(self, split):
            return []

        def notes(self):
            return []


    @dataclass(frozen=True)
    class Pairs:
        '''Differences to the mean of a step: each measurement needs all of its places.'''

        def build(self):
            return PairsOperator()


    class PairsOperator:
        n_places = None

        def places(self, items):
            return items

        def measure(self, values, items):
            return values - values.mean(dim=0)


    @dataclass(frozen=True)
    class Sums:
        '''One number of the three colours.'''

        def build(self):
            return SumsOperator()


    class SumsOperator(PairsOperator):
        n_places = 1

        def measure(self, values, items):
            return values.sum(dim=1, keepdim=True)


    @dataclass(frozen=True)
    class Uncounted:
        def build(self):
            found = SumsOperator()
            found.n_places = 0
            return found


    @dataclass(frozen=True)
    class Measureless:
        def build(self):
            return object()
"""
SINES = "field: {encoding: identity, activation: {type: siren, omega: 6, first_omega: 6}, width: 24, output: linear}\n"
SLICE = f"dataset: tomograph\noperator: {{type: line_integral, n_samples: 32}}\n{SINES}"
HOOKS = ["{type: nint, fraction: 0.5}", "{type: int, fraction: 0.5}", "{type: kar, grid: 6, keys: 9}"]
TRAINING = "training: {steps: 200, batch_size: 96, lr: 3.0e-3, tile: 4096}\n"
PHOTO = "dataset: {{type: image, path: {photo}}}\nfield: {{encoding: identity, activation: siren, width: 8}}\n"


def rays_at(distances: Tensor, dim: int, angle: float = 0.3) -> Rays:
    """Rays that pass the origin at these distances."""
    ahead = torch.tensor([math.cos(angle), math.sin(angle), 0.0])[:dim]
    beside = torch.tensor([-math.sin(angle), math.cos(angle), 0.0])[:dim]
    return Rays(distances[:, None] * beside - 3 * ahead, ahead.expand(len(distances), dim))


def integral(rays: Rays, radius: float, n_samples: int, domain: Domain) -> Tensor:
    """Along rays through a disc, or ball, of density 1."""
    operator = LineIntegral(n_samples).build(domain=domain)
    places: Any = operator.places(rays)
    inside = (places.positions.norm(dim=-1, keepdim=True) < radius).float()
    return operator.measure(inside, rays)[:, 0]


@pytest.mark.parametrize("domain", [PLANE, SPACE], ids=["plane", "space"])
def test_a_line_integral_of_a_disc_is_its_chord(domain: Domain):
    s = torch.linspace(-0.79, 0.79, 40)
    chord = 2 * (0.8**2 - s**2).sqrt()
    found = integral(rays_at(s, domain.aabb.dim), 0.8, 4000, domain)
    torch.testing.assert_close(found, chord, atol=1e-3, rtol=0)
    coarse = integral(rays_at(s, domain.aabb.dim), 0.8, 40, domain)
    assert float((coarse - chord).abs().max()) < 2 * 3 / 40


def test_a_line_integral_of_a_smooth_signal_converges_with_the_square_of_its_samples():
    rays, errors = rays_at(torch.zeros(1), 2, angle=0.0), []
    for n in (8, 16, 32):
        operator = LineIntegral(n).build(domain=PLANE)
        places: Any = operator.places(rays)
        found = operator.measure(torch.exp(places.positions[:, :1]), rays)
        errors.append(abs(float(found) - (math.e - 1 / math.e)))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


def test_a_ray_that_misses_measures_nothing():
    found = integral(rays_at(torch.tensor([5.0, -9.0]), 3), 0.8, 16, SPACE)
    assert found.tolist() == [0.0, 0.0]


def test_the_identity_is_the_identity_to_the_bit():
    operator = REGISTRY.find("operators", "identity").load()().build()
    points = Points(torch.rand(5, 2))
    values = torch.rand(5, 3)
    assert operator.places(points) is points
    assert operator.measure(values, points) is values
    assert operator.n_places == 1


@pytest.fixture
def make(install: Any, scene: Callable[[str], Path]) -> Callable[..., Fit]:
    install(STRANGER, {"datasets/tomograph": "Tomograph", "operators/pairs": "Pairs", "operators/sums": "Sums"})

    def build(text: str, **overrides: Any) -> Fit:
        config = read_scene(scene(text), {f"training.{key}": value for key, value in overrides.items()})
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
        return build_fit(config, build_dataset(config, context), context)[0]

    return build


def gradients(fit: Fit) -> Tensor:
    return torch.cat([p.grad.flatten() for p in fit.parameters if p.grad is not None])


def test_tiles_of_measurements_give_the_gradients_of_one(make: Callable[..., Fit]):
    found = []
    for tile in (4096, 300, 5):
        fit = make(SLICE + TRAINING, tile=tile)
        assert fit.tile_of_items == max(1, tile // 32)
        training_step(fit, 0)
        found.append(gradients(fit))
    for gradient in found[1:]:
        torch.testing.assert_close(gradient, found[0], rtol=1e-4, atol=1e-6)


def test_a_slice_is_found_from_its_sums(make: Callable[..., Fit]):
    fit = make(SLICE + TRAINING)
    losses = [float(training_step(fit, step).loss) for step in range(200)]
    assert losses[-1] < 0.02 * losses[0]
    field: Any = fit.field
    inside, outside = (field.values(r * rays_at(torch.zeros(9), 2).viewdirs).detach().mean() for r in (0.1, 0.85))
    assert float(inside) > 1.4
    assert abs(float(outside)) < 0.6


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_work_on_measurements(hook: str, make: Callable[..., Fit]):
    fit = make(SLICE + TRAINING.replace("}", f", hooks: [{hook}]}}"))
    for step in range(3):
        assert math.isfinite(float(training_step(fit, step).loss))


def test_a_measurement_that_needs_all_places_is_not_cut(make: Callable[..., Fit], photo: Path):
    fit = make(PHOTO.format(photo=photo) + "operator: pairs\ntraining: {batch_size: 50, tile: 7}\n")
    assert fit.tile_of_items is None
    sizes: list[int] = []
    render = fit.renderer.render
    fit.renderer.render = lambda field, items, **rest: sizes.append(len(items)) or render(field, items, **rest)  # pyright: ignore
    training_step(fit, 0)
    assert sizes == [50]


def test_measurements_may_have_fewer_channels_than_values(make: Callable[..., Fit], photo: Path):
    with pytest.raises(FieldEngineError, match=r"values of shape \(4, 1\) for 4 items; the data has \(4, 3\)"):
        make(PHOTO.format(photo=photo) + "operator: sums\n")


def test_rays_without_an_operator_are_refused_by_a_renderer_of_points(make: Callable[..., Fit]):
    with pytest.raises(FieldEngineError, match="the direct renderer takes points; this data set gives rays"):
        make(f"dataset: tomograph\n{SINES}")


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        ("Uncounted", r"expected SumsOperator\.n_places, at least 1 or None; found 0"),
        ("Measureless", r"object has no places and no measure\(\), which an operator needs"),
    ],
)
def test_a_broken_operator_is_named_before_training(
    cls: str, said: str, install: Any, scene: Callable[[str], Path], photo: Path, tmp_path: Path
):
    install(STRANGER, {"operators/odd": cls})
    path = scene(PHOTO.format(photo=photo) + "operator: odd\n")
    with pytest.raises(FieldEngineError, match=rf'operators plugin "odd" of stranger 1\.0: {said}'):
        fieldengine.train(path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
