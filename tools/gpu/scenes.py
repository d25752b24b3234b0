"""The ready scenes on the device: a few steps against the CPU, and whole trainings against known scores.

Initial weights and batches come from a generator on the CPU, so both devices take the same steps and only rounding
drives them apart. Without the real data of FIELDENGINE_DATA the few steps use generated data.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from golden import ROOT, SMALL, made

import fieldengine
from fieldengine.config.scene import read_scene
from gpu.rows import Check, Plan, Row, compared

FEW, TINY = 100, 5  # steps against the CPU; TINY with --quick
SHARE = 0.6  # of a check's time; the rest is for reading data and scoring


@dataclass(frozen=True)
class Ready:
    """A scene, its data and its score.

    Attributes:
        scene: the file's name in scenes/.
        data: keys of the real data; the path is relative to the folder of data.
        substitute: keys of generated data of about the same size.
        tiny: keys of a version that trains in a second.
        score: the metric that is compared.
        reaches, within: the score of a whole training and its tolerance: on the real data as in the README, for the
            demo as trained on a CPU.
        alike: tolerance between the scores of the two devices after a few steps.
    """

    scene: str
    data: dict[str, Any]
    substitute: dict[str, Any]
    tiny: dict[str, Any]
    score: str
    reaches: float
    within: float
    alike: float


VIEWS = {"dataset": {"type": "procedural", "views": 100, "size": 100}}
FEW_RAYS = {
    **{key: value for key, value in SMALL["rays"][1].items() if not key.startswith("dataset.")},
    "dataset": {"type": "procedural", "views": 4, "test_views": 2, "size": 24},
    "renderer.sampler.resolution": 16,
}
READY = {
    "image": Ready(
        "image",
        {"dataset.path": "images/kodak/kodim03.png"},
        {"dataset.path": "photo.png"},
        SMALL["image"][1],
        "psnr",
        reaches=41.6,
        within=0.5,
        alike=0.1,
    ),
    "nerf": Ready(
        "nerf",
        {"dataset.path": "scenes/lego_400", "dataset.downscale": 4},
        VIEWS,
        FEW_RAYS,
        "psnr",
        reaches=31.0,
        within=0.5,
        alike=0.2,
    ),
    "mesh": Ready(
        "mesh",
        {"dataset.path": "meshes/bunny_watertight.off"},
        {"dataset.path": "ball.ply"},
        SMALL["mesh"][1],
        "iou",
        reaches=0.993,
        within=0.005,
        alike=0.02,
    ),
    "demo": Ready("demo", {}, {}, FEW_RAYS, "psnr", reaches=30.8, within=0.5, alike=0.2),
}


def checks(plan: Plan) -> list[Check]:
    """First a few steps of each scene, then whole trainings."""
    few = [Check(f"{name}, {steps(plan)} steps", partial(beside_the_cpu, plan, ready)) for name, ready in READY.items()]
    if plan.quick:
        return few
    return few + [Check(f"{name}, whole", partial(whole, plan, ready)) for name, ready in READY.items()]


def steps(plan: Plan) -> int:
    return TINY if plan.quick else FEW


def keys_of_data(plan: Plan, ready: Ready, folder: Path) -> dict[str, Any]:
    """The keys that name a scene's data: the real data, or files generated in `folder`."""
    if not plan.quick and plan.data.is_dir():
        base, keys = plan.data, ready.data
    else:
        made(folder, 32 if plan.quick else 512)
        base, keys = folder, ready.tiny if plan.quick else ready.substitute
    return {key: str(base / value) if key == "dataset.path" else value for key, value in keys.items()}


def source(plan: Plan, ready: Ready) -> str:
    """A remark if the data is not the real data; else empty."""
    is_real = not ready.data or (plan.data.is_dir() and not plan.quick)
    return "" if is_real else "tiny generated data" if plan.quick else f"generated data: there is no folder {plan.data}"


def trained(ready: Ready, keys: dict[str, Any], device: str, out: Path) -> fieldengine.Run:
    alone = {"evaluation.every": 0, "evaluation.metrics": [ready.score]}
    return fieldengine.train(ROOT / "scenes" / f"{ready.scene}.yaml", {**keys, **alone}, out=out, device=device)


def beside_the_cpu(plan: Plan, ready: Ready, _: float) -> Iterator[Row]:
    """Both in float32, so that only the order of sums differs."""
    exact = {"training.steps": steps(plan), "training.precision": "float32", "training.compile": "off"}
    less = {"evaluation.max_views": 4, **({"dataset.n_samples": 50_000} if ready.scene == "mesh" else {})}
    with tempfile.TemporaryDirectory() as name:
        keys = {**less, **keys_of_data(plan, ready, Path(name)), **exact}
        ours = trained(ready, keys, plan.device, Path(name) / "ours")
        cpu = trained(ready, {"training.tile": 4096, **keys}, "cpu", Path(name) / "cpu")
    figures = {"s": ours.summary["seconds_train"], "CPU s": cpu.summary["seconds_train"]}
    scores = ours.metrics[ready.score], cpu.metrics[ready.score]
    what = f"{ready.scene}, {steps(plan)} steps"
    yield compared(what, *scores, ready.alike, figures=figures, detail=source(plan, ready))


def whole(plan: Plan, ready: Ready, seconds: float) -> Iterator[Row]:
    """The unchanged scene. If the time is too short, only the few steps are compared."""
    what, file = f"{ready.scene}, whole", ROOT / "scenes" / f"{ready.scene}.yaml"
    if source(plan, ready):
        yield Row(what, "left out", detail=f"its score is known only for the real data; there is no folder {plan.data}")
        return
    with tempfile.TemporaryDirectory() as name:
        keys = {**keys_of_data(plan, ready, Path(name)), "training.max_seconds": SHARE * seconds}
        run = trained(ready, keys, plan.device, Path(name) / "run")
    figures = {"s": run.summary["seconds_train"], "steps": run.summary["steps"]}
    asked = read_scene(file).training.steps
    if run.summary["steps"] < asked:
        why = (
            f"{run.summary['steps']} of {asked} steps in {SHARE * seconds:.0f} s; see the comparison after a few steps"
        )
        yield Row(what, "left out", figures=figures, detail=why)
    else:
        yield compared(what, run.metrics[ready.score], ready.reaches, ready.within, figures=figures)
