"""What a training step of the ready scenes costs on the device, eager and compiled: time, launches, waits, memory."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from golden import ROOT

from fieldengine.config.scene import SceneConfig, read_scene
from fieldengine.kinds.dataset import Dataset
from fieldengine.ops.backends import Record
from fieldengine.precision import matrix_products
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.compiled import choose_compiled
from fieldengine.training.fit import Fit
from fieldengine.training.optimizer import set_lr
from fieldengine.training.schedule import lr_factor
from fieldengine.training.step import training_step
from fieldengine.training.trial import choose_tile
from fieldengine.types import RunContext
from gpu.counting import counted, waiting
from gpu.rows import Check, Plan, Row
from gpu.scenes import READY, keys_of_data, source
from gpu.timing import each

SCENES = ("image", "mesh", "nerf")
WARM, TIMED = 60, 64  # steps; an occupancy grid is updated several times during WARM
COUNTED = 16  # steps; an occupancy grid is updated once in 16
TINY = {"warm": 2, "timed": 2, "counted": 2}
PLACES = 8  # lines that wait, at most


def checks(plan: Plan) -> list[Check]:
    """Compiled steps come last, because compiling may take long."""
    modes = ("off",) if plan.quick or plan.device == "cpu" else ("off", "on")
    pairs = [(scene, mode) for mode in modes for scene in SCENES]
    return [Check(f"{scene}, a step, {said(mode)}", partial(a_step, plan, scene, mode)) for scene, mode in pairs]


def said(mode: str) -> str:
    return "compiled" if mode == "on" else "eager"


def a_step(plan: Plan, scene: str, mode: str, _: float) -> Iterator[Row]:
    warm, timed, n = TINY.values() if plan.quick else (WARM, TIMED, COUNTED)
    config, dataset = data_of(plan, scene)
    fit = fit_of(plan, config, dataset)
    with matrix_products(config.training.precision, fit.context.device):
        fit.tile = choose_tile(fit)
        note = choose_compiled(fit, mode, config.training.steps)
        if note and note.startswith("not compiled"):
            raise RuntimeError(note)
        step = steps_of(fit, config)
        with Record() as record:
            for _i in range(warm):
                step()
        if plan.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        times = each(step, plan.device, timed)
        peak = torch.cuda.max_memory_allocated() / 2**20 if plan.device == "cuda" else None
        figures = {"ms": statistics.median(times), "slowest ms": max(times), "peak MB": peak, **asked(step, n, plan)}
    figures["backends"] = ", ".join(" ".join(pair) for pair in record.by_operation().items())
    remarks = [note, source(plan, READY[scene]), figures.pop("waits at")]
    detail = "; ".join(text for text in remarks if text)
    yield Row(f"{scene}, a step, {said(mode)}", "measured", figures=figures, detail=detail)


def asked(step: Callable[[], None], n: int, plan: Plan) -> dict[str, Any]:
    """Launches, waits and copies per step, over n steps."""

    def some() -> None:
        for _ in range(n):
            step()

    with waiting() as places:
        some()
    counts = counted(some, plan.device)
    lines = [f"{count / n:.2g} x {place}" for place, count in places.most_common(PLACES)]
    return {
        "launches": counts.launches / n,
        "waits": places.total() / n,
        "stream waits": counts.waits / n,
        "copies to host": counts.to_host / n,
        "copies to device": counts.to_device / n,
        "operators": counts.operators / n,
        "asking operators": counts.asking / n,
        "waits at": f"waits at {', '.join(lines)}" if lines else "",
    }


@cache
def data_of(plan: Plan, scene: str) -> tuple[SceneConfig, Dataset]:
    """A scene and its data, read once for both modes."""
    with tempfile.TemporaryDirectory() as name:
        keys = keys_of_data(plan, READY[scene], Path(name))
        config = read_scene(ROOT / "scenes" / f"{scene}.yaml", keys)
        return config, build_dataset(config, context_on(plan.device))


def fit_of(plan: Plan, config: SceneConfig, dataset: Dataset) -> Fit:
    return build_fit(config, dataset, context_on(plan.device))[0]


def context_on(device: str) -> RunContext:
    return RunContext(torch.device(device), torch.Generator().manual_seed(0), 0)


def steps_of(fit: Fit, config: SceneConfig) -> Callable[[], None]:
    """A function that does the next step."""
    numbers = iter(range(1 << 30))

    def step() -> None:
        number, steps = next(numbers), config.training.steps
        set_lr(fit.optimizer, lr_factor(config.training.schedule, min(number, steps - 1), steps))
        training_step(fit, number)

    return step
