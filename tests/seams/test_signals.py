"""Signals of any dimension and range: how they are scored and written belongs to their data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fieldengine
from fieldengine.cameras.grid import SignalGrid
from fieldengine.errors import FieldEngineError
from fieldengine.plugins.registry import Registry

STRANGER = """
    import math
    from dataclasses import dataclass
    from typing import ClassVar

    import numpy as np
    import torch
    from fieldengine.api import Aabb, Batch, Domain, Points, View
    from fieldengine.cameras.grid import SignalGrid


    class Numbers:
        '''Writes .npy files.'''

        suffixes = (".npy",)

        def write(self, values, out):
            np.save(out, values.numpy())


    @dataclass(frozen=True)
    class Waves:
        '''Products of waves between -3 and 3, in any dimension.'''

        default_field: ClassVar[str] = "signal"
        default_renderer: ClassVar[str] = "direct"
        default_metrics: ClassVar[tuple[str, ...]] = ("snr",)
        presenter: ClassVar[Numbers] = Numbers()

        shape: tuple[int, ...] = (64,)

        def build(self, *, context):
            return WavesDataset(self.shape, context.device)


    class WavesDataset:
        splits, surface = (), None

        def __init__(self, shape, device):
            self.n_items, d = math.prod(shape), len(shape)
            grid = SignalGrid.of(shape)
            self.positions = grid.items(torch.arange(self.n_items, device=device)).positions
            self.targets = 3 * torch.sin(2 * self.positions).prod(dim=-1, keepdim=True)
            self.domain = Domain("waves", Aabb.of([-1] * d, [1] * d).to(device), out_dim=1, grid=grid)

        def batch(self, indices, generator):
            return Batch(Points(self.positions[indices]), self.targets[indices], None, indices)

        def views(self, split):
            return [View("waves", self.domain.grid, self.targets, None)]

        def notes(self):
            return []


    @dataclass(frozen=True)
    class Snr:
        '''Signal-to-noise ratio in dB.'''

        needs: ClassVar[str] = "signal"
        higher_is_better: ClassVar[bool] = True

        def score(self, values, target):
            return float(10 * torch.log10(target.square().sum() / (values - target).square().sum().clamp(min=1e-12)))
"""
SCENE = """
dataset: {{type: waves, shape: {shape}}}
field: {{encoding: identity, activation: {{type: siren, omega: 4, first_omega: 4}}, width: 32, output: linear}}
training: {{steps: 300, batch_size: 500, lr: 3.0e-3}}
"""
SHAPES = [(64,), (9, 12), (5, 6, 7), (3, 4, 5, 4)]


@pytest.fixture
def path(install: Any, scene: Callable[[str], Path]) -> Callable[[tuple[int, ...]], Path]:
    install(STRANGER, {"datasets/waves": "Waves", "metrics/snr": "Snr"})
    return lambda shape: scene(SCENE.format(shape=list(shape)))


@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_a_signal_of_any_dimension_is_fitted_scored_and_written(shape: tuple[int, ...], path: Any, tmp_path: Path):
    run = fieldengine.train(path(shape), out=tmp_path / "run")
    assert set(run.metrics) == {"snr"}
    assert run.metrics["snr"] > 20
    (shown,) = (tmp_path / "run" / "images").iterdir()
    assert shown.suffix == ".npy"
    values = np.load(shown)
    assert values.shape == (*shape, 1)
    assert np.abs(values).max() > 1.2, "not clipped to what a screen shows"
    assert run.evaluate("test") == pytest.approx(run.metrics)


def test_a_signal_is_rendered_finer_and_without_its_data(path: Any, tmp_path: Path):
    run = fieldengine.train(path((40,)), {"training.steps": 5}, out=tmp_path / "run")
    run.export("field", tmp_path / "waves.safetensors")
    loaded = fieldengine.load(tmp_path / "waves.safetensors")
    out = loaded.render(tmp_path / "fine.npy", scale=3)
    assert np.load(out).shape == (120, 1)
    assert loaded.render(tmp_path / "named.npy").name == "named.npy"


def test_what_a_signal_cannot_be_is_refused_in_words(path: Any, tmp_path: Path):
    run = fieldengine.train(path((40,)), {"training.steps": 2}, out=tmp_path / "run")
    for options, said in (
        ({"out": tmp_path / "a.png"}, r"ends in \.npy; found \.png"),
        ({"size": (4, 5)}, "--size is of images; this signal has 1 dimensions"),
        ({"path": "orbit"}, "--path is for scenes seen by cameras"),
    ):
        with pytest.raises(FieldEngineError, match=said):
            run.render(**options)
    with pytest.raises(FieldEngineError, match="ssim needs images, found a signal of 1 dimensions"):
        run.evaluate("test", ["ssim"])


@pytest.mark.parametrize("shape", SHAPES, ids=len)
@pytest.mark.parametrize("placement", ["corners", "centres", "isotropic"])
def test_a_grid_is_the_product_of_its_axes_the_last_one_fastest(shape: tuple[int, ...], placement: Any):
    grid = SignalGrid.of(shape, placement)
    found = grid.items(torch.arange(grid_size := int(np.prod(shape)))).positions
    alone = [SignalGrid((n,), (n,), placement).items(torch.arange(n)).positions[:, 0] for n in shape]
    if placement == "isotropic":
        spacing = 2.0 / (max(shape) - 1)
        alone = [(torch.arange(n) - 0.5 * (n - 1)) * spacing for n in shape]
    expected = torch.stack(torch.meshgrid(*alone, indexing="ij"), dim=-1).view(grid_size, len(shape))
    torch.testing.assert_close(found, expected)


def test_metrics_and_data_sets_of_strangers_are_listed(path: Any):
    assert "snr" in Registry().names("metrics")
    assert "waves" in Registry().names("datasets")


@pytest.mark.parametrize("shape", [(64,), (9, 12)], ids=len)
def test_a_training_is_done_where_its_signal_cannot_be_written_as_an_image(
    shape: tuple[int, ...], install: Any, scene: Callable[[str], Path], tmp_path: Path
):
    """A data set without a presenter: a sound, and an image of five channels."""
    channels = 1 if len(shape) == 1 else 5
    text = STRANGER.replace("        presenter: ClassVar[Numbers] = Numbers()\n", "")
    text = text.replace("keepdim=True)", f"keepdim=True).repeat(1, {channels})")
    text = text.replace("out_dim=1", f"out_dim={channels}")
    install(text, {"datasets/waves": "Waves", "metrics/snr": "Snr"})
    run = fieldengine.train(scene(SCENE.format(shape=list(shape))), {"training.steps": 3}, out=tmp_path / "run")
    assert run.status == "done"
    assert set(run.metrics) == {"snr"}
    assert not list((tmp_path / "run" / "images").iterdir())
    assert "warning: " in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
