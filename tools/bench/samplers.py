"""What does a step cost with each way to choose a batch? Uniform draws of as many pixels are the rival.

A SIREN 2-256x5-3 on 128 x 128 pixels of which each step takes a fifth, one thread, as in scenes/papers/nint_table1.yaml
in its small profile. Schedules change on the way, so what is timed are steps from all over the 600 of the training.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # both sides; a table's runs have a core each

import functools

from fits import fit_of_image, steps_of
from pair import Question, Step, main

SCENE = """
dataset: {type: image, path: image.png}
field: {encoding: identity, activation: {type: siren, bias: weight}, width: 256, depth: 5, output: linear}
training: {batch_size: full, steps: 600, lr: 1.e-4, tile: 4096, schedule: {decay: constant}}
"""
STEPS, PLACES, RUN = 600, 10, 6  # six steps one after the other, at ten places
HOOKS = {
    "every pixel": "",
    "EGRA": "{type: egra, fraction: 0.2}",
    "Soft Mining": "{type: soft_mining, fraction: 0.2}",
    "INT": "{type: int, fraction: 0.2}",
    "EVOS without CFS": "{type: evos, fraction: 0.2, cfs: false}",
    "EVOS": "{type: evos, fraction: 0.2}",
    "Expansive Supervision": "{type: expansive, fraction: 0.2}",
    "NINT, random share 0.5": "{type: nint, random_share: 0.5}",
    "NINT, random share 0.7": "{type: nint, random_share: 0.7}",
    "NINT by batch": "{type: nint, scoring: batch}",
}


def steps_with(hook: str = "{type: uniform, fraction: 0.2}") -> Step:
    step = steps_of(fit_of_image(128, SCENE, [f"training.hooks=[{hook}]"]))
    between = STEPS // PLACES
    numbers = [first + i for first in range(between // 2, STEPS, between) for i in range(RUN)]
    return lambda: [step(number) for number in numbers]


if __name__ == "__main__":
    text = f"{RUN * PLACES} steps, a fifth of 128 x 128 pixels, SIREN 2-256x5-3, one thread: {{}}"
    main(
        *(
            Question(text.format(name), "uniform draws", "", steps_with, functools.partial(steps_with, hook))
            for name, hook in HOOKS.items()
        )
    )
