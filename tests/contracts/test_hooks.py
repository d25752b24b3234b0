"""Training hooks: what each of the three kinds is promised, for hooks that come from another distribution."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fieldengine
from fieldengine.config.scene import read_scene
from fieldengine.errors import FieldEngineError, PluginError, SceneError
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training import checkpoint
from fieldengine.training.fit import Fit
from fieldengine.training.oracle import Residuals
from fieldengine.training.step import training_step
from fieldengine.types import Batch, RunContext
from tests.strangers import Install

MODULE = '''
"""Hooks of a stranger."""

from dataclasses import dataclass

import torch
from torch import nn

from fieldengine.api import Lattice


@dataclass(frozen=True)
class Worst:
    """Takes the worst fitted of some random items."""

    candidates: int = 60
    """how many are asked about"""

    def build(self, *, n_items, context):
        return WorstSampler(self.candidates, n_items, context.generator)


class WorstSampler:
    def __init__(self, candidates, n_items, generator):
        self.candidates, self.n_items, self.generator = candidates, n_items, generator
        self.counts = torch.zeros(n_items, dtype=torch.int64)

    def select(self, step, n, scores):
        assert scores.n_items == self.n_items
        self.drawn = torch.randint(self.n_items, (self.candidates,), generator=self.generator)
        self.errors = scores.residuals(self.drawn).abs().mean(dim=-1)
        self.chosen = self.drawn[self.errors.topk(n // 2).indices]
        self.counts += torch.bincount(self.chosen, minlength=self.n_items)
        return self.chosen

    def state_dict(self):
        return {"counts": self.counts, "nested": {"candidates": [self.candidates]}}

    def load_state_dict(self, state):
        self.counts = state["counts"]
        assert state["nested"] == {"candidates": [self.candidates]}


@dataclass(frozen=True)
class First:
    """Takes the first items."""

    def build(self):
        return FirstSampler()


class FirstSampler:
    def select(self, step, n, scores):
        return torch.arange(n)


@dataclass(frozen=True)
class Scale:
    """Multiplies the cotangent; the factor may grow from step to step."""

    factor: float = 1.0
    """the factor of the first step"""
    growth: float = 0.0
    """added to it after each step"""

    def build(self, *, field, domain):
        return ScaleTransform(self, field, domain)


class ScaleTransform:
    span = "item"

    def __init__(self, options, field, domain):
        self.factor, self.growth, self.field, self.domain = options.factor, options.growth, field, domain
        self.prepared = []

    def prepare(self, step, field, batch):
        assert field is self.field
        self.prepared.append(step)
        self.now = self.factor
        self.factor += self.growth

    def adjust(self, cotangent, batch, rendered, rows):
        assert cotangent.shape == rendered.values.shape == batch.targets.shape
        return self.now * cotangent

    def state_dict(self):
        return {"factor": self.factor}

    def load_state_dict(self, state):
        self.factor = state["factor"]


@dataclass(frozen=True)
class Small:
    """Draws the field towards zero on a grid."""

    weight: float = 1.0
    """of the penalty"""

    def build(self, **known):
        return SmallPenalty(self.weight, known)


class SmallPenalty:
    points = Lattice(3)

    def __init__(self, weight, known):
        self.weight, self.known = weight, known

    def penalty(self, step, field, points):
        self.seen = points
        return self.weight * field(points).square().mean()


@dataclass(frozen=True)
class Level:
    """A penalty with a number of its own that is learnt beside the field; it chooses batches too."""

    def build(self):
        return LevelModule()


class LevelModule(nn.Module):
    points = Lattice(2)

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def penalty(self, step, field, points):
        return (self.level - 3.0).square()

    def select(self, step, n, scores):
        return torch.arange(n)


@dataclass(frozen=True)
class Idle:
    """Offers nothing."""

    def build(self):
        return object()


@dataclass(frozen=True)
class Dreamer:
    """Asks for what no engine has."""

    def build(self, *, field, moon, tide):
        return FirstSampler()
'''
NAMES = ("Worst", "First", "Scale", "Small", "Level", "Idle", "Dreamer")

DATA = {
    "image": "dataset: {{type: image, path: {photo}}}",
    "mesh": "dataset: {{type: mesh, path: {ball}, n_samples: 2000}}",
    "procedural": "dataset: {{type: procedural, views: 2, test_views: 1, size: 12}}",
}
FIELDS = {
    "image": "field: {encoding: identity, activation: {type: finer, omega: 5, first_omega: 5}, width: 8, depth: 1}",
    "mesh": "field: {encoding: identity, activation: {type: finer, omega: 5, first_omega: 5}, width: 8, depth: 1}",
    "procedural": "field: {encoding: {type: hash_grid, n_levels: 2, log2_table: 8, finest: 32}, width: 8}\n"
    "renderer: {sampler: {type: occupancy, resolution: 8, steps: 24, every: 2, warmup: 2}}",
}
TRAINING = "training: {steps: 6, batch_size: 40, lr: 1.0e-2, checkpoint_every: 3, schedule: {decay: constant}}"
KINDS = list(DATA)


@pytest.fixture(autouse=True)
def stranger(install: Install, quick_scores: None) -> None:
    """An installed distribution `stranger` 1.0 with the hooks above."""
    install(MODULE, {f"hooks/{name.lower()}": name for name in NAMES}, module="stranger_hooks")


@pytest.fixture
def write(photo: Path, ball: Path, scene: Callable[..., Path]) -> Callable[[str, str], Path]:
    """A tiny scene of one kind of data with hooks."""

    def write_scene(kind: str, hooks: str) -> Path:
        training = TRAINING.replace("}}", f"}}, hooks: [{hooks}]}}")
        return scene("\n".join([DATA[kind].format(photo=photo, ball=ball), FIELDS[kind], training]), f"{kind}.yaml")

    return write_scene


@pytest.fixture
def make(write: Callable[[str, str], Path]) -> Callable[[str, str], Fit]:
    """Everything a step of such a scene works with."""

    def build(kind: str, hooks: str = "") -> Fit:
        config = read_scene(write(kind, hooks))
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
        return build_fit(config, build_dataset(config, context), context)[0]

    return build


Make = Callable[..., Fit]
Write = Callable[[str, str], Path]


def weights(fit: Fit) -> Tensor:
    return torch.cat([p.detach().flatten() for p in fit.field.parameters()])


def gradients(fit: Fit) -> Tensor:
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in fit.field.parameters()])


def stepped(fit: Fit, steps: int = 4) -> Tensor:
    for step in range(steps):
        training_step(fit, step)
    return weights(fit)


# --------------------------------------------------------------------------------------------------------- samplers


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_learns_from_the_items_the_sampler_chose_by_their_residuals(make: Make, kind: str):
    fit = make(kind, "worst")
    sampler: Any = fit.sampler
    dataset, seen = fit.dataset, []

    class Spy:
        n_items, domain = dataset.n_items, dataset.domain

        def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
            seen.append(indices)
            return dataset.batch(indices, generator)

    spy: Any = Spy()
    fit.dataset = spy
    for step in range(3):
        report = training_step(fit, step)
        asked, learnt = seen[-2:]
        assert torch.equal(asked, sampler.drawn)
        assert torch.equal(learnt, sampler.chosen)
        assert report.n_items == len(sampler.chosen) == 20
        assert sampler.errors.sort(descending=True).values[19] >= sampler.errors.median()
    assert int(sampler.counts.sum()) == 3 * 20


@pytest.mark.parametrize("kind", ["image", "mesh"])
def test_the_oracle_tells_rendered_minus_target_of_the_field_as_it_is_now(make: Make, kind: str):
    fit = make(kind, "worst")
    stepped(fit, 2)
    indices = torch.arange(30)
    batch = fit.dataset.batch(indices, fit.context.generator)
    expected = fit.field.values(batch.items.positions).detach() - batch.targets
    torch.testing.assert_close(Residuals(fit).residuals(indices), expected)


def test_a_sampler_beats_chance_where_it_says_it_does(make: Make):
    """Training on the first rows of an image alone fits those rows and not the others."""
    fit = make("image", "first")
    fit.batch_size = 96
    stepped(fit, 150)
    error = Residuals(fit).residuals(torch.arange(384)).square().mean(dim=-1)
    assert error[:96].mean() < 0.5 * error[192:].mean()


# ---------------------------------------------------------------------------------------------- gradient transforms


@pytest.mark.parametrize("kind", KINDS)
def test_a_cotangent_times_zero_freezes_the_field(make: Make, kind: str):
    fit = make(kind, "{type: scale, factor: 0}")
    before = weights(fit)
    assert torch.equal(stepped(fit), before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cotangent_times_one_is_plain_training_bit_for_bit(make: Make, kind: str):
    assert torch.equal(stepped(make(kind, "{type: scale, factor: 1}")), stepped(make(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cotangent_times_minus_two_turns_and_doubles_the_gradient(make: Make, kind: str):
    plain, turned = make(kind), make(kind, "{type: scale, factor: -2}")
    training_step(plain, 0)
    training_step(turned, 0)
    assert gradients(plain).abs().max() > 0
    torch.testing.assert_close(gradients(turned), -2.0 * gradients(plain), rtol=1e-5, atol=1e-9)


def test_a_transform_is_prepared_once_a_step_before_its_tiles(make: Make):
    fit = make("image", "{type: scale, growth: 1}")
    fit.tile = 7
    stepped(fit, 3)
    transform: Any = fit.transform
    assert transform.prepared == [0, 1, 2]
    assert transform.factor == 4.0


# ----------------------------------------------------------------------------------------------------- regularizers


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_penalty_is_added_to_that_of_the_data(make: Make, kind: str):
    plain, punished = make(kind), make(kind, "{type: small, weight: 0.5}")
    points = punished.dataset.domain.aabb.grid(3)
    parameters = list(plain.field.parameters())
    penalty = 0.5 * plain.field(points).square().mean()
    found = torch.autograd.grad(penalty, parameters, allow_unused=True)
    extra = torch.cat([torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(parameters, found)])  # noqa: B905
    training_step(plain, 0)
    training_step(punished, 0)
    assert extra.abs().max() > 0
    torch.testing.assert_close(gradients(punished), gradients(plain) + extra, rtol=1e-4, atol=1e-7)
    hook: Any = punished.regularizers[0]
    assert torch.equal(hook.seen, points), "a grid over the field's own box"


def test_penalties_of_several_hooks_add_up(make: Make):
    once, twice = make("image", "{type: small, weight: 3}"), make("image", "{type: small, weight: 1}, small, small")
    assert len(twice.regularizers) == 3
    training_step(once, 0)
    training_step(twice, 0)
    torch.testing.assert_close(gradients(twice), gradients(once), rtol=1e-4, atol=1e-7)


def test_the_reported_loss_is_that_of_the_data_alone(make: Make):
    plain, punished = make("image"), make("image", "{type: small, weight: 100}")
    assert float(training_step(punished, 0).loss) == float(training_step(plain, 0).loss)


# ------------------------------------------------------------------------------------------------------ all of them


def test_a_hook_gets_what_its_build_names_and_one_that_names_everything_gets_it_all(make: Make):
    fit = make("mesh", "{type: scale, factor: 1}, small")
    transform, regularizer = fit.transform, fit.regularizers[0]
    assert transform.field is fit.field  # pyright: ignore
    assert transform.domain is fit.dataset.domain  # pyright: ignore
    known = regularizer.known  # pyright: ignore
    assert set(known) == {"field", "domain", "n_items", "steps", "context"}
    assert known["n_items"] == 2000
    assert known["steps"] == 6
    assert known["context"] is fit.context


def test_a_hook_that_is_a_module_learns_and_may_serve_in_two_places(make: Make):
    fit = make("image", "level")
    hook: Any = fit.sampler
    assert fit.regularizers == [hook]
    stepped(fit, 50)
    assert 0.1 < hook.level.item() <= 0.6  # Adam at 1e-2 a step, straight towards 3


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_go_on_where_they_were_when_a_run_is_resumed(write: Write, tmp_path: Path, kind: str):
    path = write(kind, "worst, {type: scale, growth: 0.5}, small")
    whole, half = tmp_path / "whole", tmp_path / "half"
    fieldengine.train(path, out=whole)
    shutil.copytree(whole, half)
    shutil.rmtree(half / "checkpoints" / "step_00000006")
    fieldengine.train(path, out=half, resume=True)
    first, second = (checkpoint.load(folder / "checkpoints" / "step_00000006")["training"] for folder in (whole, half))
    assert first["hooks"]["1"] == second["hooks"]["1"] == {"factor": 4.0}
    assert int(first["hooks"]["0"]["counts"].sum()) == 6 * 20
    assert torch.equal(first["hooks"]["0"]["counts"], second["hooks"]["0"]["counts"])
    assert all(torch.equal(first["field"][name], second["field"][name]) for name in first["field"])


def test_a_hook_that_is_a_module_goes_on_where_it_was(write: Write, tmp_path: Path):
    path = write("image", "level")
    whole, half = tmp_path / "whole", tmp_path / "half"
    fieldengine.train(path, out=whole)
    shutil.copytree(whole, half)
    shutil.rmtree(half / "checkpoints" / "step_00000006")
    fieldengine.train(path, out=half, resume=True)
    levels = [
        checkpoint.load(folder / "checkpoints" / "step_00000006")["training"]["hooks"]["0"]["level"]
        for folder in (whole, half)
    ]
    assert float(levels[0]) > 0.01
    assert torch.equal(levels[0], levels[1])


def test_the_summary_names_the_hooks_with_their_distribution_and_version(write: Write, tmp_path: Path):
    run = fieldengine.train(write("image", "worst, small"), out=tmp_path / "run")
    found = [plugin for plugin in run.summary["plugins"] if plugin["kind"] == "hooks"]
    assert found == [
        {"kind": "hooks", "name": name, "distribution": "stranger", "version": "1.0"} for name in ("worst", "small")
    ]


# --------------------------------------------------------------------------------------------------------- refusals


def refused(path: Path, out: Path) -> FieldEngineError:
    """The error of a training that must not begin."""
    with pytest.raises(FieldEngineError) as caught:
        fieldengine.train(path, out=out)
    assert caught.value.exit_code == 2
    assert not out.exists(), "nothing is left of a run that never began"
    return caught.value


def test_two_samplers_at_once_are_refused_with_both_names(write: Write, tmp_path: Path):
    reason = refused(write("image", "worst, {type: scale, factor: 1}, first"), tmp_path / "run")
    assert isinstance(reason, SceneError)
    assert reason.key == "training.hooks"
    assert '"worst" and "first"' in str(reason)
    assert "scale" not in str(reason)


def test_two_gradient_transforms_at_once_are_refused_with_both_names(write: Write, tmp_path: Path):
    reason = refused(write("image", "scale, worst, {type: scale, factor: 2}"), tmp_path / "run")
    assert '"scale" and "scale"' in str(reason)


def test_a_hook_that_offers_nothing_is_refused_with_what_it_could_offer(write: Write, tmp_path: Path):
    reason = refused(write("image", "idle"), tmp_path / "run")
    assert isinstance(reason, PluginError | SceneError)
    for word in ('"idle"', "select", "prepare", "adjust", "penalty"):
        assert word in str(reason)


def test_a_hook_that_asks_for_something_unknown_is_refused_with_what_there_is(write: Write, tmp_path: Path):
    reason = refused(write("image", "dreamer"), tmp_path / "run")
    assert isinstance(reason, PluginError | SceneError)
    assert "Dreamer.build asks for moon, tide" in str(reason)
    assert "the engine offers field, domain, n_items, steps, context" in str(reason)


def test_a_hook_that_asks_for_something_unknown_is_named_with_its_distribution(write: Write, tmp_path: Path):
    reason = refused(write("image", "dreamer"), tmp_path / "run")
    assert isinstance(reason, PluginError | SceneError)
    assert "of stranger 1.0" in str(reason)


def test_a_misspelt_hook_or_key_is_refused_with_the_nearest_name(write: Write, tmp_path: Path):
    assert 'Did you mean "worst"?' in str(refused(write("image", "wrost"), tmp_path / "run"))
    assert 'Did you mean "factor"?' in str(refused(write("image", "{type: scale, facter: 1}"), tmp_path / "run"))
