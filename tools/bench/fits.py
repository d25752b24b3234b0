"""What a training steps with, from a scene, for scripts that time steps one by one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch

from fieldengine.config.scene import read_scene
from fieldengine.memory import keep_freed_memory
from fieldengine.precision import matrix_products
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.step import training_step
from fieldengine.types import RunContext


def image(side: int) -> np.ndarray:
    """Noise, (side, side, 3)."""
    return np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)


def fit_of(scene_file: Path, overrides: Sequence[str]) -> Fit:
    keep_freed_memory()
    scene = read_scene(scene_file, overrides)
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
    return build_fit(scene, build_dataset(scene, context), context)[0]


def fit_of_image(side: int, scene: str, overrides: Sequence[str] = ()) -> Fit:
    """Of side x side pixels of noise; the scene names them image.png."""
    with tempfile.TemporaryDirectory() as folder:
        iio.imwrite(Path(folder) / "image.png", image(side))
        (Path(folder) / "scene.yaml").write_text(scene)
        return fit_of(Path(folder) / "scene.yaml", overrides)


def steps_of(fit: Fit, precision: str = "auto") -> Callable[[int], None]:
    """Does step number so-and-so."""

    def step(number: int) -> None:
        with matrix_products(precision, fit.context.device):
            training_step(fit, number)

    return step
