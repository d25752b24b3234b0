"""How long is a full-batch step on an image, against the plain torch loop everybody writes?

Net 2-256x4-3 with FINER, 256 x 256 pixels. The two take turns in one process; the ratio is the median of pairs.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch

from fieldengine.build import build_dataset, build_fit
from fieldengine.scene import read_scene
from fieldengine.training.step import training_step
from fieldengine.types import RunContext

SIDE, PAIRS = 256, 5


def scene_of(folder: Path) -> Path:
    """A picture with detail at all scales, and a scene that fits it with every pixel in every step."""
    random = np.random.default_rng(0)
    iio.imwrite(folder / "picture.png", random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))
    path = folder / "scene.yaml"
    path.write_text(
        "dataset: {type: image, path: picture.png}\nfield: {width: 256, depth: 4}\ntraining: {batch_size: full}\n"
    )
    return path


def plain_loop(pixels: torch.Tensor) -> Any:
    """The rival: one forward and backward over all pixels."""
    from fieldengine_plugins.activations.finer import Finer

    axis = torch.linspace(-1, 1, SIDE)
    x = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    finer, sizes = Finer(), [2, 256, 256, 256, 256]
    layers = [finer.hidden(a, b, is_first=i == 0) for i, (a, b) in enumerate(itertools.pairwise(sizes))]
    net = torch.nn.Sequential(*layers, finer.output(256, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        (0.5 * net(x) + 0.5 - pixels).square().mean().backward()
        optimizer.step()

    return step


def seconds(step: Any) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        scene = read_scene(scene_of(Path(folder)))
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
        fit, _ = build_fit(scene, build_dataset(scene, context), context)
    rival = plain_loop(fit.dataset.views("test")[0].target)

    def ours() -> None:
        training_step(fit, 0)

    ours(), rival()
    pairs = [(seconds(rival), seconds(ours)) for _ in range(PAIRS)]
    return {
        "question": f"full-batch step, FINER net 2-256x4-3, {SIDE} x {SIDE} picture, float32",
        "rival": "plain full-batch torch loop",
        "rival_seconds": statistics.median(a for a, _ in pairs),
        "ours_seconds": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
        "pairs": PAIRS,
    }


if __name__ == "__main__":
    import json

    print(json.dumps(measure()))
