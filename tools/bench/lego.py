"""How long does the ready NeRF scene train until it reaches 20, 24, 26, 28, 30, 31 dB on the held-out views of lego?

100 x 100 pixels, 25 test views; training time alone. The rival is a prototype of 150 lines, timed on two cores of the
same kind: 28 s to 26 dB, 70 s to 30 dB. Needs the data: FIELDENGINE_DATA/scenes/lego_400.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is there

import torch

from fieldengine.config.scene import read_scene
from fieldengine.memory import keep_freed_memory
from fieldengine.metrics.evaluate import evaluate, find_metrics
from fieldengine.plugins.registry import Registry
from fieldengine.precision import matrix_products
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.optimizer import set_lr
from fieldengine.training.schedule import lr_factor
from fieldengine.training.step import training_step
from fieldengine.types import RunContext

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("FIELDENGINE_DATA", ROOT.parent / "shared" / "data")) / "scenes" / "lego_400"
LEVELS = (20, 24, 26, 28, 30, 31)
PROTOTYPE = {26: 28.0, 30: 70.0}
ASKED = {26: "at most 25 s", 30: "at most 60 s"}
EVERY = 2.0  # seconds of training between scores


def curve(overrides: list[str], seed: int) -> list[tuple[float, int, float]]:
    """(seconds, steps, dB) along one training."""
    scene = read_scene(
        ROOT / "scenes" / "nerf.yaml",
        [f"dataset.path={DATA}", "dataset.downscale=4", f"training.seed={seed}", *overrides],
    )
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(seed), seed)
    fit, trained = build_fit(scene, build_dataset(scene, context), context)
    steps, seconds, found = scene.training.steps, 0.0, []
    psnr = find_metrics(["psnr"], Registry())
    with matrix_products(scene.training.precision, context.device):
        for step in range(steps):
            started = time.perf_counter()
            set_lr(fit.optimizer, lr_factor(scene.training.schedule, step, steps))
            training_step(fit, step)
            seconds += time.perf_counter() - started
            if step + 1 == steps or seconds >= EVERY * (len(found) + 1):
                with fit.ema.applied():
                    score = evaluate(trained, fit.dataset, ["test"], psnr)["test_psnr"]
                found.append((seconds, step + 1, score))
    return found


def main() -> None:
    keep_freed_memory()
    if not DATA.is_dir():
        sys.exit(f"no data at {DATA}; set FIELDENGINE_DATA")
    found = curve(sys.argv[1:], seed=0)
    results = []
    for level in LEVELS:
        reached = next((seconds for seconds, _, score in found if score >= level), None)
        rival = PROTOTYPE.get(level)
        results.append(
            {
                "question": f"lego at 100 x 100, training time to {level} dB on 25 test views",
                "rival": "a prototype, timed elsewhere" if rival else "",
                "asked": ASKED.get(level, ""),
                "rival_value": rival,
                "ours_value": reached,
                "ratio": rival / reached if rival and reached else None,
                "curve": found,
            }
        )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
