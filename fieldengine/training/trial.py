"""How many items to render and back-propagate at once, found out by trying."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fieldengine.training.fit import Fit
from fieldengine.training.loss import cotangent
from fieldengine.training.measure import fetched, measured

USUAL = {"cpu": 4096, "cuda": 1 << 18}
SIZES = (1024, 2048, 4096, 8192, 16384, 32768)
REPEATS = 3


def choose_tile(fit: Fit) -> int:
    """The tile size with the shortest time per item on this machine, from a trial that leaves no trace in the fit.

    Small tiles stay in the processor's cache, large ones call fewer operations. There is a trial where it can tell:
    on a CPU, where each item costs the same from step to step, and where results do not depend on the size.
    """
    device = fit.context.device.type
    steady = fit.renderer.max_batch(1 << 30) == 1 << 30 and fit.operator.n_places == 1
    mixes = fit.transform is not None and fit.span == "tile"
    if device != "cpu" or not steady or mixes or fit.tile_of_items is None or fit.batch_size <= SIZES[0]:
        return USUAL[device]
    best, best_time = USUAL[device], math.inf
    with on_trial(fit):
        for size in SIZES:
            n = min(size, fit.batch_size)
            per_item = seconds(fit, n) / n
            if per_item < best_time:
                best, best_time = size, per_item
            if size >= fit.batch_size or per_item > 1.3 * best_time:
                break
    return best


@contextmanager
def on_trial(fit: Fit) -> Iterator[None]:
    """What is rendered and back-propagated inside the block leaves no trace in the fit."""
    random = fit.context.random_state()
    renderer = {name: tensor.clone() for name, tensor in fit.renderer.state_dict().items()}
    try:
        yield
    finally:
        fit.optimizer.zero_grad(set_to_none=True)
        fit.renderer.load_state_dict(renderer)
        fit.context.set_random_state(random)


def seconds(fit: Fit, n: int) -> float:
    """How long values and gradients of n items take, the best of a few times."""
    return min(_seconds(fit, n) for _ in range(REPEATS))


def spread(n_items: int, n: int, device: torch.device) -> torch.Tensor:
    """n of the items (n,), from the first to the last at even distances."""
    return torch.arange(n, device=device) * (n_items - 1) // max(n - 1, 1)  # float32 is not exact beyond 2^24


def _seconds(fit: Fit, n: int) -> float:
    batch = fetched(fit, spread(fit.dataset.n_items, n, fit.context.device), fit.context.device_generator)
    started = time.perf_counter()
    rendered, _ = measured(fit, fit.traced, batch, fit.context.device_generator)
    _, gradient = cotangent(fit.loss, rendered.values, batch.targets, n)
    if rendered.values.requires_grad:
        rendered.values.backward(gradient)
    if fit.context.device.type == "cuda":
        torch.cuda.synchronize(fit.context.device)
    return time.perf_counter() - started
