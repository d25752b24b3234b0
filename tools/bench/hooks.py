"""What do training hooks cost a step, in time and memory? The same run without them is the rival.

Inductive gradient adjustment on 512 x 512 pixels, a SIREN 2-256x3-3, every pixel in every step, patches of 32 x 32 and
20 balanced eigenvalues, each way to choose representatives; per ray on lego at 100 x 100, a grid that knows by then
where it is empty; kernel alignment on 256 x 256 pixels with 4096 queries. Needs the data: FIELDENGINE_DATA/scenes.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # both sides are ours, and start as the command line does

import imageio.v3 as iio
import torch
from full_batch_step import picture
from pair import Question, Step, compare, main

from fieldengine.build import build_dataset, build_fit
from fieldengine.memory import keep_freed_memory
from fieldengine.precision import matrix_products
from fieldengine.scene import read_scene
from fieldengine.training.step import training_step
from fieldengine.types import RunContext

ROOT = Path(__file__).resolve().parents[2]
LEGO = Path(os.environ.get("FIELDENGINE_DATA", ROOT.parent / "shared" / "data")) / "scenes" / "lego_400"
SCENE = """
dataset: {type: image, path: picture.png}
field: {encoding: identity, activation: siren, width: 256, depth: 3}
training: {batch_size: full, tile: 4096}
"""
WARM, STEPS = 300, 10  # of lego: until its grid is settled, and those timed together


def on_picture(side: int, *overrides: str) -> Step:
    """A step on side x side pixels."""
    with tempfile.TemporaryDirectory() as folder:
        iio.imwrite(Path(folder) / "picture.png", picture(side))
        (Path(folder) / "scene.yaml").write_text(SCENE)
        return steps(Path(folder) / "scene.yaml", *overrides)


def on_lego(*overrides: str) -> Step:
    """Ten steps of the ready NeRF scene, after 300."""
    step = steps(ROOT / "scenes" / "nerf.yaml", f"dataset.path={LEGO}", "dataset.downscale=4", *overrides)
    for _ in range(WARM):
        step()
    return lambda: [step() for _ in range(STEPS)]


def steps(scene_file: Path, *overrides: str) -> Step:
    keep_freed_memory()
    scene = read_scene(scene_file, overrides)
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
    fit, _ = build_fit(scene, build_dataset(scene, context), context)
    numbers = itertools.count()

    def step() -> None:
        with matrix_products("auto", context.device):
            training_step(fit, next(numbers))

    return step


def question(text: str, asked: str, setup: Any, hook: str) -> Question:
    return Question(text, "without it", asked, setup, functools.partial(setup, f"training.hooks=[{hook}]"))


LARGE, SMALL = functools.partial(on_picture, 512), functools.partial(on_picture, 256)
IGA = "full-batch step with IGA, 512 x 512 pixels, 256 patches, representatives: {}"
KAR = "full-batch step with KAR, 256 x 256 pixels, 4096 queries, {} keys"
OF_IGA, OF_KAR = "at least 0.952 (1.05 x the time)", "at least 0.667 (1.5 x the time)"
QUESTIONS = {
    question(IGA.format(which), asked, LARGE, f"{{type: iga, balanced: 20, patch: 32, representative: {which}}}"): bound
    for which, asked, bound in (
        ("previous", OF_IGA, "at most 1.05 x"),
        ("residual", "", ""),
        ("centre", "", ""),
    )
} | {
    question(
        "10 steps with IGA per ray, lego at 100 x 100",
        "at least 0.870 (1.15 x the time)",
        on_lego,
        "{type: iga, balanced: 20}",
    ): "",
    question(KAR.format(1024), OF_KAR, SMALL, "{type: kar, queries: 4096}"): "at most + 200 MB",
    question(KAR.format(4096), OF_KAR, SMALL, "{type: kar, keys: null}"): "at most + 200 MB",
}


def memory(timed: dict[str, Any], asked: str) -> dict[str, Any]:
    """The peaks of the two processes of a question."""
    rival, ours = timed["rival_peak_mb"], timed["ours_peak_mb"]
    return {
        "question": f"{timed['question']}, memory of the process (here: MB)",
        "rival": timed["rival"],
        "asked": asked,
        "rival_value": rival,
        "ours_value": ours,
        "ratio": ours / rival,
    }


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(*QUESTIONS)
    else:
        timed = [(compare(i, asked), bound) for i, (asked, bound) in enumerate(QUESTIONS.items())]
        print(json.dumps([row for one, bound in timed for row in ([one, memory(one, bound)] if bound else [one])]))
