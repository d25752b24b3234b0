"""Choosing numbers before training: the candidate with which the untrained field has the spectrum of the data.

Kania et al. 2024, FreSh: Frequency Shifting for Accelerated Neural Representation Learning. A network learns fastest
what it starts near to; how far the spectra of its first output and of the data lie apart is known without a step.
Their code sums magnitudes along lines of k_x + k_y, this over rings of |k|, so that all directions count alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldengine.config.scene import SceneConfig
from fieldengine.errors import SceneError
from fieldengine.kinds.dataset import Dataset
from fieldengine.metrics.evaluate import views_of
from fieldengine.renderers.image import render_image
from fieldengine.runs.build import build_trained
from fieldengine.spectrum import radial_spectrum, wasserstein
from fieldengine.types import RunContext, View

N_SEEDS = 3
N_RINGS = 64  # as many frequencies as the paper compares; noise would outweigh the rest
LONGEST = 256  # pixels a side, of which 64 cycles need no more


@dataclass(frozen=True)
class Trial:
    """A value, the distance of its spectrum from that of the data in cycles per image, and the spectrum (n,)."""

    value: float
    distance: float
    spectrum: Tensor


@dataclass(frozen=True)
class Suggestion:
    """What was tried for a key, in order, and the spectrum of the data (n,)."""

    key: str
    trials: list[Trial]
    target: Tensor

    @property
    def best(self) -> Trial:
        return min(self.trials, key=lambda trial: trial.distance)


def choose_open_keys(
    config: SceneConfig, dataset: Dataset, context: RunContext
) -> tuple[SceneConfig, list[Suggestion]]:
    """The scene with a number for every key that is `auto`, one after the other, and how they were chosen.

    Raises SceneError where the data have no spectrum to compare with.
    """
    suggestions = []
    for key in config.open_keys:
        suggestion = suggest(config, key, dataset, context)
        suggestions.append(suggestion)
        config = config.with_values({key: suggestion.best.value})
    return config, suggestions


def suggest(config: SceneConfig, key: str, dataset: Dataset, context: RunContext) -> Suggestion:
    """Try every candidate of one key; other keys that are still `auto` stand at their defaults.

    Raises SceneError where the data are no image, or one without any detail.
    """
    views: Sequence[View] = views_of(dataset, "train") if dataset.domain.is_image else []
    if not views:
        kind = config.plain["dataset"]["type"]
        raise SceneError(f"auto compares spectra of images; dataset {kind} is none. Write a number", key=key)
    if views[0].hidden is not None:
        raise SceneError("auto looks at the whole image, of which dataset.mask hides some. Write a number", key=key)
    grid = views[0].grid
    target = views[0].target.view(*grid.shape, -1).cpu()
    if max(target.shape[:2]) > LONGEST:
        factor = LONGEST / max(target.shape[:2])
        size = [max(2, round(side * factor)) for side in target.shape[:2]]
        channels_first = target.permute(2, 0, 1)[None]
        target = torch.nn.functional.interpolate(channels_first, size=size, mode="area")[0].permute(1, 2, 0)
        grid = grid.resized(*size)
    wanted = radial_spectrum(target, N_RINGS)
    if not wanted.any():
        raise SceneError("auto needs an image with detail; this one has a single colour. Write a number", key=key)
    trials = []
    for value in config.candidates[key]:
        scene = config.with_values({key: value})
        spectra = []
        for seed in range(context.seed, context.seed + N_SEEDS):
            own = RunContext(context.device, context.generator, seed)
            fresh = build_trained(scene.field, scene.renderer, dataset.domain, own, scene.plain)
            image = render_image(fresh.field, fresh.renderer, fresh.domain, grid)
            spectra.append(radial_spectrum(image.values, N_RINGS))
        distance = sum(wasserstein(spectrum, wanted) for spectrum in spectra) / N_SEEDS
        trials.append(Trial(value, distance, torch.stack(spectra).mean(dim=0)))
    return Suggestion(key, trials, wanted)


def suggestions_for(config: SceneConfig, dataset: Dataset, context: RunContext) -> list[Suggestion]:
    """A suggestion for every key that is `auto`, or, where none is, for every key that could be."""
    if config.open_keys:
        return choose_open_keys(config, dataset, context)[1]
    return [suggest(config, key, dataset, context) for key in config.candidates]
