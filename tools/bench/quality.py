"""What do `precision: auto` and `fast` cost in quality? dB after 300 full-batch steps, against float32.

Three photographs of 192 x 128 pixels and two activations. The figures are those of the same scene and seed, trained
once with each, so they differ by rounding and what it leads to. Needs the data: FIELDENGINE_DATA/images/kodak.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is there

import fieldengine

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("FIELDENGINE_DATA", ROOT.parent / "shared" / "data")) / "images" / "kodak"
IMAGES = ("kodim03", "kodim08", "kodim05")
LR = {"finer": 5e-4, "siren": 5e-4}
ASKED = {"auto": "at most 0.05 dB less", "fast": ""}
SCENE = """
dataset: {{type: image, path: {path}, downscale: 4}}
field: {{encoding: identity, activation: {activation}, width: 256, depth: 4}}
training: {{batch_size: full, steps: 300, lr: {lr}, precision: {precision}}}
"""


def psnr(folder: Path, image: str, activation: str, precision: str) -> float:
    scene = folder / f"{image}_{activation}_{precision}.yaml"
    path = next(DATA.glob(f"{image}.*"))
    scene.write_text(SCENE.format(path=path, activation=activation, lr=LR[activation], precision=precision))
    return fieldengine.train(scene, out=folder / scene.stem, device="cpu").summary["metrics"]["psnr"]


def main() -> None:
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for activation in LR:
            scores = {
                precision: [psnr(Path(folder), image, activation, precision) for image in IMAGES]
                for precision in ("float32", *ASKED)
            }
            results += [
                {
                    "question": f"dB after 300 steps, {activation}, {len(IMAGES)} photographs, precision {precision}",
                    "rival": "precision float32, dB",
                    "asked": asked,
                    "rival_value": statistics.mean(scores["float32"]),
                    "ours_value": statistics.mean(scores[precision]),
                    "ratio": None,
                    "scores": scores,
                }
                for precision, asked in ASKED.items()
            ]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
