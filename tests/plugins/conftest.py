"""What tests of batch samplers share: a tiny fit with a sampler, and a record of what it chose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torch import Tensor

from fieldengine.config.scene import read_scene
from fieldengine.kinds.hook import BatchSampler, GradientTransform
from fieldengine.plugins.registry import Registry
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.step import training_step
from fieldengine.types import RunContext

H, W, STEPS = 13, 7, 40
EDGE = 4  # the first bright column of the image
SIGNAL = "field: {encoding: identity, activation: {type: siren, omega: 8}, width: 8, depth: 1}"
RADIANCE = "field: {encoding: {type: hash_grid, n_levels: 2, log2_table: 6, finest: 16}, width: 8}\n"
SCENES = {
    "image": f"dataset: {{type: image, path: image.png}}\n{SIGNAL}",
    "mesh": f"dataset: {{type: mesh, path: ball.ply, n_samples: 1000}}\n{SIGNAL}",
    "procedural": "dataset: {type: procedural, views: 2, test_views: 1, size: 12}\n"
    + RADIANCE
    + "renderer: {sampler: {type: stratified, n_samples: 6}}",
}


@pytest.fixture
def scenes() -> dict[str, str]:
    """Data and field of tiny scenes, one for each kind of items."""
    return SCENES


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry()


@pytest.fixture
def make(ball: Path, scene: Callable[..., Path], registry: Registry) -> Callable[..., Fit]:
    """Everything a step works with, with a sampler of these options. The image is 13 high and 7 wide, half bright."""
    image = np.full((H, W, 3), 40, np.uint8)
    image[:, EDGE:] = 215
    iio.imwrite(ball.parent / "image.png", image)

    def build(options: Any = None, kind: str = "image", **changes: Any) -> Fit:
        training = f"training: {{steps: {STEPS}, batch_size: full, lr: 1.0e-2}}"
        config = read_scene(scene(f"{SCENES[kind]}\n{training}", f"{kind}.yaml"), {}, registry)
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
        dataset = build_dataset(config, context)
        fit, _ = build_fit(config, dataset, context)
        fit.tile = 40
        if options is not None:
            known = {"domain": dataset.domain, "n_items": dataset.n_items, "steps": STEPS, "context": context}
            wanted = options.build.__annotations__.keys() & known.keys()
            hook = options.build(**{name: known[name] for name in wanted})
            assert isinstance(hook, BatchSampler)
            fit.sampler, fit.transform = hook, hook if isinstance(hook, GradientTransform) else None
        for name, value in changes.items():
            setattr(fit, name, value)
        return fit

    return build


@pytest.fixture
def chosen_in() -> Callable[[Fit, range], list[Tensor]]:
    """Do these steps -> the items of each."""

    def chosen(fit: Fit, steps: range) -> list[Tensor]:
        found, select = [], fit.sampler.select

        def spy(step: int, n: int, scores: Any) -> Tensor:
            found.append(select(step, n, scores))
            return found[-1]

        fit.sampler.select = spy  # pyright: ignore
        for step in steps:
            training_step(fit, step)
        del fit.sampler.select
        return found

    return chosen
