"""Does the time per pixel grow with the image? Net 2-256x4-3 with FINER, every pixel in every step."""

from __future__ import annotations

import json
import os
import statistics

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is there

from full_batch_step import ours
from pair import seconds

from fieldengine.memory import keep_freed_memory

SIDES = (128, 256, 512, 1024, 2048)


def main() -> None:
    keep_freed_memory()
    per_pixel = {}
    for side in SIDES:
        step = ours(side, "float32")
        step()
        repeats = 5 if side < 1024 else 2
        per_pixel[side] = statistics.median(seconds(step) for _ in range(repeats)) / side**2
    growth = per_pixel[SIDES[-1]] / per_pixel[SIDES[0]]
    result = {
        "question": "time per pixel of a full-batch step at 2048 x 2048 pixels against 128 x 128 (here: microseconds)",
        "rival": "itself at 128 x 128",
        "asked": "at most 1.15",
        "rival_value": 1e6 * per_pixel[SIDES[0]],
        "ours_value": 1e6 * per_pixel[SIDES[-1]],
        "ratio": growth,
        "microseconds_per_pixel": {side: 1e6 * value for side, value in per_pixel.items()},
    }
    print(json.dumps([result]))


if __name__ == "__main__":
    main()
