"""How much more memory does training on a 4096 x 4096 image take than on 512 x 512, beyond the image itself?

Every pixel in every step, three steps, in a process of its own for each size; the ready image scene's field.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SIDES, STEPS = (512, 4096), 3
SCENE = """
dataset: {type: image, path: image.png}
field: {encoding: {type: hash_grid, n_levels: 12, finest: 384, log2_table: 17}}
training: {batch_size: full}
"""


def work(side: int) -> None:
    import torch

    from fieldengine.config.scene import read_scene
    from fieldengine.memory import keep_freed_memory, peak_memory_mb
    from fieldengine.runs.build import build_dataset, build_fit
    from fieldengine.training.step import training_step
    from fieldengine.training.trial import choose_tile
    from fieldengine.types import RunContext

    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        # written by another process, whose buffers are not counted
        code = "import sys; from fits import *; iio.imwrite(sys.argv[2], image(int(sys.argv[1])))"
        subprocess.run([sys.executable, "-c", code, str(side), str(path)], cwd=Path(__file__).parent, check=True)
        (Path(folder) / "scene.yaml").write_text(SCENE)
        scene = read_scene(Path(folder) / "scene.yaml")
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
        fit, _ = build_fit(scene, build_dataset(scene, context), context)
    fit.tile = choose_tile(fit)
    for step in range(STEPS):
        training_step(fit, step)
    print(peak_memory_mb(context.device))


def main() -> None:
    peaks = []
    for side in SIDES:
        done = subprocess.run([sys.executable, __file__, str(side)], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        peaks.append(float(done.stdout) - 3 * side**2 / 2**20)
    result = {
        "question": "peak memory of training on 4096 x 4096 pixels, beyond the image (here: MB)",
        "rival": "itself at 512 x 512",
        "asked": "at most + 300 MB",
        "rival_value": peaks[0],
        "ours_value": peaks[1],
        "ratio": peaks[1] / peaks[0],
        "more_mb": peaks[1] - peaks[0],
    }
    print(json.dumps([result]))


if __name__ == "__main__":
    work(int(sys.argv[1])) if len(sys.argv) > 1 else main()
