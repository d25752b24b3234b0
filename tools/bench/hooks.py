"""What do training hooks cost a step, in time and memory? The same run without them is the rival.

Inductive gradient adjustment on 512 x 512 pixels, a SIREN 2-256x3-3, every pixel in every step, patches of 32 x 32 and
20 balanced eigenvalues, each way to choose representatives; per ray on lego at 100 x 100, a grid that knows by then
where it is empty; kernel alignment on 256 x 256 pixels with 4096 queries. Needs the data: FIELDENGINE_DATA/scenes.
"""

from __future__ import annotations

import functools
import itertools
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # both sides are ours, and start as the command line does

from fits import fit_of, fit_of_image, steps_of
from pair import Question, Step, main

ROOT = Path(__file__).resolve().parents[2]
LEGO = Path(os.environ.get("FIELDENGINE_DATA", ROOT.parent / "shared" / "data")) / "scenes" / "lego_400"
SCENE = """
dataset: {type: image, path: image.png}
field: {encoding: identity, activation: siren, width: 256, depth: 3}
training: {batch_size: full, tile: 4096}
"""
WARM, STEPS = 300, 10  # of lego: until its grid is settled, and those timed together


def on_image(side: int, *overrides: str) -> Step:
    """A step on side x side pixels."""
    step, numbers = steps_of(fit_of_image(side, SCENE, overrides)), itertools.count()
    return lambda: step(next(numbers))


def on_lego(*overrides: str) -> Step:
    """Ten steps of the ready NeRF scene, after 300."""
    scene = ROOT / "scenes" / "nerf.yaml"
    step = steps_of(fit_of(scene, [f"dataset.path={LEGO}", "dataset.downscale=4", *overrides]))
    for number in range(WARM):
        step(number)
    numbers = itertools.count(WARM)
    return lambda: [step(next(numbers)) for _ in range(STEPS)]


def question(text: str, asked: str, setup: Any, hook: str, memory: str = "") -> Question:
    with_it = functools.partial(setup, f"training.hooks=[{hook}]")
    return Question(text, "without it", asked, setup, with_it, memory=memory)


LARGE, SMALL = functools.partial(on_image, 512), functools.partial(on_image, 256)
IGA = "full-batch step with IGA, 512 x 512 pixels, 256 patches, representatives: {}"
PATCHES = "{{type: iga, balanced: 20, patch: 32, representative: {}}}"
RAYS = "10 steps with IGA per ray, lego at 100 x 100"
KAR = "full-batch step with KAR, 256 x 256 pixels, 4096 queries, {} keys"
OF_IGA, OF_KAR = "at least 0.952 (1.05 x the time)", ("at least 0.667 (1.5 x the time)", SMALL)

if __name__ == "__main__":
    main(
        question(IGA.format("previous"), OF_IGA, LARGE, PATCHES.format("previous"), "at most 1.05 x"),
        question(IGA.format("residual"), "", LARGE, PATCHES.format("residual")),
        question(IGA.format("centre"), "", LARGE, PATCHES.format("centre")),
        question(RAYS, "at least 0.870 (1.15 x the time)", on_lego, "{type: iga, balanced: 20}"),
        question(KAR.format(1024), *OF_KAR, "{type: kar, queries: 4096}", "at most + 200 MB"),
        question(KAR.format(4096), *OF_KAR, "{type: kar, keys: null}", "at most + 200 MB"),
    )
