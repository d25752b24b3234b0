"""Items know their image: an appearance embedding learns one brightness per image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fieldengine

N, SIZE = 5, 10
BRIGHTNESS = (0.9, 0.3, 0.6, 0.45, 0.75)
STRANGER = """
    from dataclasses import dataclass

    import torch
    from torch import nn

    from fieldengine.api import Aabb, Batch, Domain, Rays
    from fieldengine.fields import ToUnit

    N, SIZE = 5, 10
    BRIGHTNESS = torch.tensor([0.9, 0.3, 0.6, 0.45, 0.75])


    @dataclass(frozen=True)
    class Lamps:
        '''A grey ball, seen from five sides under five lamps; nothing else is there.'''

        default_field = "lit"
        default_renderer = "volume"

        def build(self):
            return LampsDataset()


    class LampsDataset:
        splits, surface = (), None

        def __init__(self):
            self.n_items = N * SIZE * SIZE
            self.domain = Domain("lamps", Aabb.of([-1] * 3, [1] * 3), out_dim=3, n_cameras=N)

        def batch(self, indices, generator):
            camera, pixel = indices // SIZE**2, indices % SIZE**2
            turn = camera * 6.283 / N
            towards = torch.stack([turn.cos(), turn.sin(), 0 * turn], -1)
            side = torch.stack([-turn.sin(), turn.cos(), 0 * turn], -1)
            u, v = ((p + 0.5) / SIZE * 2 - 1 for p in (pixel % SIZE, pixel // SIZE))
            origins = -3 * towards + u[:, None] * side + v[:, None] * torch.tensor([0.0, 0.0, 1.0])
            hit = (u**2 + v**2 < 0.6**2).float()
            targets = (hit * BRIGHTNESS[camera])[:, None].expand(-1, 3)
            return Batch(Rays(origins, towards, camera), targets.contiguous(), torch.zeros(len(indices), 3), indices)

        def views(self, split):
            return []

        def notes(self):
            return []


    @dataclass(frozen=True)
    class Lit:
        '''A ball whose brightness is a number per image.'''

        def build(self, *, aabb, n_cameras):
            return LitBall(aabb, n_cameras)


    class LitBall(nn.Module):
        def __init__(self, aabb, n_cameras):
            super().__init__()
            self.to_unit = ToUnit(aabb)
            self.seen = []
            self.lamp = nn.Parameter(torch.full((n_cameras,), 0.5))

        def density(self, x):
            inside = self.to_unit(x).norm(dim=-1) < 0.6
            return 50.0 * inside.float(), x[:, :0]

        def rgb(self, features, viewdirs, camera_indices=None):
            lamp = self.lamp.mean() if camera_indices is None else self.lamp[camera_indices][:, None]
            return lamp * torch.ones_like(viewdirs)

        def forward(self, x):
            return self.density(x)[0]
"""
SCENE = """
dataset: lamps
renderer: {sampler: {type: stratified, n_samples: 40}}
training: {steps: 60, batch_size: full, lr: 4.0e-2, tile: 128, schedule: {decay: constant}}
"""


@pytest.mark.parametrize("batch_size", ["full", 200])
def test_an_appearance_learns_one_brightness_per_image(
    batch_size: Any, install: Any, scene: Callable[[str], Path], tmp_path: Path
):
    install(STRANGER, {"datasets/lamps": "Lamps", "fields/lit": "Lit"})
    run = fieldengine.train(scene(SCENE), {"training.batch_size": batch_size}, out=tmp_path / "run")
    found: Any = run.field
    torch.testing.assert_close(found.lamp.detach(), torch.tensor(BRIGHTNESS), atol=0.03, rtol=0)


def test_the_number_of_images_is_remembered_without_the_data(
    install: Any, scene: Callable[[str], Path], tmp_path: Path
):
    install(STRANGER, {"datasets/lamps": "Lamps", "fields/lit": "Lit"})
    run = fieldengine.train(scene(SCENE), {"training.steps": 2}, out=tmp_path / "run")
    run.export("field", tmp_path / "lit.safetensors")
    again: Any = fieldengine.load(tmp_path / "lit.safetensors").field
    assert torch.equal(again.lamp, run.field.lamp)
    view = torch.tensor([[0.0, 0.0, 1.0]])
    torch.testing.assert_close(again.rgb(view[:, :0], view), again.lamp.mean().expand(1, 3))
