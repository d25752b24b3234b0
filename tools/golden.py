"""Whether a change leaves training as it was, to the bit: 30 steps of every ready scene and of every hook.

python tools/golden.py --write FILE    before the change: train, and keep a digest of each field's weights
python tools/golden.py FILE            after it, on the same machine: train again, and name what differs

Digests are of the weights' values in their order, whatever their names are. They hold for one machine and one version
of torch, so no file of them is kept in the repository. Real data is looked for in FIELDENGINE_DATA.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch
import trimesh

import fieldengine

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("FIELDENGINE_DATA", ROOT.parent / "shared" / "data"))
COMMON = {
    "training.steps": 30,
    "training.tile": 4096,
    "training.log_every": 29,
    "evaluation.every": 0,
    "evaluation.max_views": 1,
}
HASHED = {"type": "hash_grid", "n_levels": 4, "log2_table": 10, "finest": 64}
SINES = {"field.encoding": "identity", "field.activation": "siren", "field.width": 32, "field.depth": 2}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "image": ("image", {**SINES, "training.batch_size": 500, "dataset.path": "photo.png"}),
    "mesh": ("mesh", {**SINES, "training.batch_size": 500, "dataset.path": "ball.ply", "dataset.n_samples": 4000}),
    "rays": ("demo", {"dataset.views": 4, "dataset.size": 24, "field.encoding": HASHED, "training.batch_size": 500}),
}
OF_ANY_ITEMS: list[dict[str, Any]] = [
    {"type": "uniform", "fraction": 0.5},
    {"type": "int", "fraction": 0.5},
    {"type": "nint", "fraction": 0.5},
    {"type": "nint", "fraction": 0.5, "scoring": "batch"},
    {"type": "iga", "balanced": 4, "patch": 4},
    {"type": "kar", "grid": 12, "keys": 64, "rank": 8},
]
OF_IMAGES: list[dict[str, Any]] = [
    {"type": "egra", "fraction": 0.5},
    {"type": "evos", "fraction": 0.5, "interval": 7, "final_interval": 5, "cfs_steps": 20},
    {"type": "evos", "fraction": 0.5, "interval": 7, "final_interval": 5, "cfs": False},
    {"type": "expansive", "fraction": 0.5},
    {"type": "soft_mining", "fraction": 0.5},
    {"type": "iga", "balanced": 4, "patch": 5, "representative": "residual", "refresh": 3},
    {"type": "kar", "grid": 12, "keys": 64, "rank": 8, "mode": "dirichlet"},
]


def cases() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """A name, the ready scene, and what is changed of it."""
    yield "scenes/demo", "demo", {}
    if DATA.is_dir():
        yield "scenes/image", "image", {"dataset.path": str(DATA / "images/kodak/kodim03.png")}
        yield "scenes/mesh", "mesh", {"dataset.path": str(DATA / "meshes/bunny_watertight.off")}
        yield "scenes/nerf", "nerf", {"dataset.path": str(DATA / "scenes/lego_400"), "dataset.downscale": 4}
    else:
        print(f"no real data at {DATA}: three ready scenes are left out")
    for kind, (scene, changes) in SMALL.items():
        yield kind, scene, changes
        for hook in OF_ANY_ITEMS + (OF_IMAGES if kind == "image" else []):
            label = ",".join(f"{key}={value}" for key, value in hook.items())
            yield f"{kind} {label}", scene, {**changes, "training.hooks": [hook]}


def digest(scene: str, changes: dict[str, Any], out: Path) -> str:
    """Of the weights after training."""
    run = fieldengine.train(ROOT / "scenes" / f"{scene}.yaml", {**COMMON, **changes}, out=out, device="cpu")
    found = hashlib.sha256()
    for tensor in run.field.state_dict().values():
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def made(folder: Path, height: int = 32) -> None:
    """Small files to fit; the image is half as wide again as it is high."""
    y, x = np.mgrid[0:height, 0 : height * 3 // 2]
    image = np.stack([5 * x, 7 * y, (11 * x * y) % 256], axis=-1).astype(np.uint8)
    iio.imwrite(folder / "photo.png", image)
    trimesh.creation.icosphere(subdivisions=3, radius=2.0).export(folder / "ball.ply")


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != "--write"]
    if len(arguments) != 1:
        print(__doc__)
        return 2
    torch.set_num_threads(2)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made(folder)
        for i, (label, scene, changes) in enumerate(cases()):
            files = {key: str(folder / changes[key]) for key in ("dataset.path",) if key in changes}
            found[label] = digest(scene, {**changes, **files}, folder / f"run{i}")
            print(f"{found[label]}  {label}", flush=True)
    file = Path(arguments[0])
    if "--write" in sys.argv[1:]:
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return 0
    before = json.loads(file.read_text(encoding="utf-8"))
    others = [label for label in sorted({*before, *found}) if before.get(label) != found.get(label)]
    print(f"{len(found) - len(others)} of {len(before)} end in the same bits", *others, sep="\ndiffers: ")
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
