"""Do fits agree with the published FINER++ code? dB after 100 and 500 full-batch steps, ours and its twin's.

The twin, published.py, is that code's formulas in plain torch; ours is `fieldengine.train` with the settings of
scenes/papers/finerpp_table1.yaml. Both fit crops of three photographs, each from a seed of its own, and start from the
same weights. Runs part all the same, rounding is enough, and tenths of a dB between two of them are chance. Takes
hours; `parity.py siren wire 100` does these methods and these steps alone. Needs the data: FIELDENGINE_DATA/images.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is there

import imageio.v3 as iio
import torch
from published import METHODS, Published, Twin, fit, points, psnr

import fieldengine
from fieldengine.config import document

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("FIELDENGINE_DATA", ROOT.parent / "shared" / "data")) / "images"
IMAGES = ("kodak/kodim03.png", "kodak/kodim05.png", "div2k/02.png")
LEFT, SIDE = 192, 128  # of the crop, its top as its left
STEPS = (100, 500)  # the rate falls over them, so a run of 500 does not hold one of 100
TABLE = document.read(ROOT / "scenes" / "papers" / "finerpp_table1.yaml").plain()


def psnr_of_ours(method: Published, image: Path, steps: int, seed: int) -> float:
    own = {"dataset.path": str(image), "dataset.crop": [LEFT, LEFT, SIDE, SIDE]}
    own |= {"training.steps": steps, "training.seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene.yaml"
        scene.write_text(document.write(TABLE["scene"]))
        changes = {**TABLE["grid"]["method"][method.row], **own}
        return fieldengine.train(scene, changes, out=Path(folder) / "run", device="cpu").metrics["psnr"]


def psnr_of_twin(method: Published, image: Path, steps: int, seed: int) -> float:
    x, y = points(iio.imread(image)[LEFT : LEFT + SIDE, LEFT : LEFT + SIDE])
    torch.manual_seed(seed)
    twin = Twin(method)
    fit(twin, x, y, method.lr, steps)
    return psnr(twin, x, y)


def compared(method: Published, steps: int) -> dict[str, Any]:
    pairs = []
    for seed, image in enumerate(IMAGES):
        pairs.append([f(method, DATA / image, steps, seed) for f in (psnr_of_ours, psnr_of_twin)])
        print(f"{method.row}, {steps} steps, {image}, seed {seed}: {pairs[-1]}", file=sys.stderr, flush=True)
    ours, twin = (statistics.mean(scores) for scores in zip(*pairs, strict=True))
    return {
        "question": f"dB after {steps} steps, {method.row}, {len(IMAGES)} photographs",
        "rival": "the published code's formulas in plain torch, dB",
        "asked": "within 0.3 dB",
        "rival_value": twin,
        "ours_value": ours,
        "ratio": None,
        "difference": ours - twin,
        "deviation_of_differences": statistics.stdev(a - b for a, b in pairs),
        "scores": pairs,
    }


def main(wanted: list[str]) -> None:
    methods = [name for name in METHODS if name in wanted] or list(METHODS)
    numbers = [steps for steps in STEPS if str(steps) in wanted] or STEPS
    print(json.dumps([compared(METHODS[name], steps) for name, steps in itertools.product(methods, numbers)]))


if __name__ == "__main__":
    main(sys.argv[1:])
