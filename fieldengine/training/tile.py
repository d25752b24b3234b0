"""How many items to render and back-propagate at once, found out by trying."""

from __future__ import annotations

import math
import time

import torch

from fieldengine.training.loss import cotangent
from fieldengine.training.step import Fit

USUAL = {"cpu": 4096, "cuda": 1 << 18}
SIZES = (1024, 2048, 4096, 8192, 16384, 32768)
REPEATS = 3


def choose_tile(fit: Fit) -> int:
    """The tile size with the shortest time per item on this machine, from a trial that leaves no trace in the fit.

    Small tiles stay in the processor's cache, large ones call fewer operations. There is a trial where it can tell:
    on a CPU, where each item costs the same from step to step, and where results do not depend on the size.
    """
    device = fit.context.device.type
    steady = fit.renderer.affordable(1 << 30) == 1 << 30
    mixes = fit.transform is not None and fit.transform.span == "tile"
    if device != "cpu" or not steady or mixes or fit.batch_size <= SIZES[0]:
        return USUAL[device]
    generator, renderer = (
        fit.context.generator.get_state(),
        {k: v.clone() for k, v in fit.renderer.state_dict().items()},
    )
    best, best_time = USUAL[device], math.inf
    for size in SIZES:
        seconds = min(_seconds(fit, min(size, fit.batch_size)) for _ in range(REPEATS)) / min(size, fit.batch_size)
        if seconds < best_time:
            best, best_time = size, seconds
        if size >= fit.batch_size or seconds > 1.3 * best_time:
            break
    fit.optimizer.zero_grad(set_to_none=True)
    fit.renderer.load_state_dict(renderer)
    fit.context.generator.set_state(generator)
    return best


def _seconds(fit: Fit, n: int) -> float:
    """How long values and gradients of n items take."""
    batch = fit.dataset.batch(torch.linspace(0, fit.dataset.n_items - 1, n).long(), fit.context.generator)
    started = time.perf_counter()
    rendered = fit.renderer.render(fit.field, batch.items, background=batch.background, generator=fit.context.generator)
    _, gradient = cotangent(fit.loss, rendered.values, batch.targets, n)
    rendered.values.backward(gradient)
    return time.perf_counter() - started
