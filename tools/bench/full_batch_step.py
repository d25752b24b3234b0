"""How long is a full-batch step on an image, against the plain torch loop everybody writes?

Net 2-256x4-3 with FINER, 512 x 512 pixels, every pixel in every step.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from pair import Question, Step, main

from fieldengine.build import build_dataset, build_fit
from fieldengine.precision import matrix_products
from fieldengine.scene import read_scene
from fieldengine.training.step import training_step
from fieldengine.training.tile import choose_tile
from fieldengine.types import RunContext

SIDE, WIDTH, DEPTH = 512, 256, 4
SCENE = f"""
dataset: {{type: image, path: picture.png}}
field: {{encoding: identity, activation: finer, width: {WIDTH}, depth: {DEPTH}}}
training: {{batch_size: full}}
"""


def picture(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)


def ours(side: int, precision: str) -> Step:
    with tempfile.TemporaryDirectory() as folder:
        iio.imwrite(Path(folder) / "picture.png", picture(side))
        (Path(folder) / "scene.yaml").write_text(SCENE)
        scene = read_scene(Path(folder) / "scene.yaml")
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
        fit, _ = build_fit(scene, build_dataset(scene, context), context)
    with matrix_products(precision, context.device):
        fit.tile = choose_tile(fit)

    def step() -> None:
        with matrix_products(precision, context.device):
            training_step(fit, 0)

    return step


def plain_loop() -> Step:
    """The rival: one forward and backward over all pixels, activation and initialisation as published."""
    pixels = torch.from_numpy(picture(SIDE)).view(-1, 3).float() / 255
    axis = torch.linspace(-1, 1, SIDE)
    x = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).view(-1, 2)
    sizes = [2, *[WIDTH] * DEPTH]
    layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
    last = torch.nn.Linear(WIDTH, 3)
    optimizer = torch.optim.Adam([*layers.parameters(), *last.parameters()], lr=1e-3)

    def step() -> None:
        h = x
        for layer in layers:
            u = layer(h)
            with torch.no_grad():
                scale = u.abs() + 1
            h = torch.sin(30 * scale * u)
        optimizer.zero_grad()
        (0.5 * last(h) + 0.5 - pixels).square().mean().backward()
        optimizer.step()

    return step


def at(precision: str) -> Callable[[], Step]:
    return lambda: ours(SIDE, precision)


if __name__ == "__main__":
    loop, net = "plain torch loop, full batch", "FINER 2-256x4-3, 512 x 512 pixels"
    main(
        Question(f"full-batch step, {net}, float32", loop, "at least 4", plain_loop, at("float32")),
        Question(f"full-batch step, {net}, precision auto", loop, "at least 8", plain_loop, at("auto")),
        gflop=6 * SIDE**2 * (2 * WIDTH + (DEPTH - 1) * WIDTH**2 + 3 * WIDTH) / 1e9,
    )
