"""What every step draws comes from the device's own generator; hooks draw from the one on the CPU; both are resumed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fieldengine.config.scene import read_scene
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.loop import Progress, restore, state_of
from fieldengine.training.step import training_step
from fieldengine.types import RunContext

SCENE = """
dataset: {type: procedural, views: 2, test_views: 1, size: 12}
field: {encoding: identity, direction_encoding: identity, activation: siren, width: 8, depth: 1}
renderer: {sampler: SAMPLER}
training: {batch_size: 60, hooks: HOOKS}
"""
SAMPLERS = ["{type: stratified, n_samples: 8}", "{type: occupancy, resolution: 8, steps: 24, every: 2}"]


@pytest.fixture(params=SAMPLERS, ids=["stratified", "occupancy"])
def make(request: pytest.FixtureRequest, scene: Callable[[str], Path]) -> Callable[..., Fit]:
    def build(hooks: str = "[]") -> Fit:
        config = read_scene(scene(SCENE.replace("SAMPLER", request.param).replace("HOOKS", hooks)))
        # two generators on a CPU stand for that of the CPU and that of a GPU
        one, other = (torch.Generator().manual_seed(seed) for seed in (1, 2))
        context = RunContext(torch.device("cpu"), one, 1)
        vars(context)["device_generator"] = other
        return build_fit(config, build_dataset(config, context), context)[0]

    return build


def test_without_hooks_a_step_draws_from_the_device_alone(make: Callable[..., Fit]):
    fit = make()
    before = fit.context.random_state()
    training_step(fit, 0)
    after = fit.context.random_state()
    assert torch.equal(before["generator"], after["generator"])
    assert not torch.equal(before["device_generator"], after["device_generator"])


def test_a_hook_draws_from_the_generator_of_the_cpu(make: Callable[..., Fit]):
    fit = make("[{type: uniform, fraction: 0.5}]")
    before = fit.context.random_state()["generator"]
    training_step(fit, 0)
    assert not torch.equal(before, fit.context.random_state()["generator"])


def test_both_states_are_in_a_checkpoint(make: Callable[..., Fit], tmp_path: Path):
    fit = make("[{type: uniform, fraction: 0.5}]")
    training_step(fit, 0)
    state = copy.deepcopy(state_of(fit, Progress(1)))
    training_step(fit, 1)
    again = make("[{type: uniform, fraction: 0.5}]")
    restore(again, state, tmp_path)
    training_step(again, 1)
    assert all(torch.equal(a, b) for a, b in zip(fit.parameters, again.parameters, strict=True))


def test_on_a_cpu_there_is_one_generator(make: Callable[..., Fit]):
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
    assert context.device_generator is context.generator
    assert list(context.random_state()) == ["generator"]
