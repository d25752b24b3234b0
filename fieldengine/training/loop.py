"""The loop around the step: rate, logging, evaluation, checkpoints, and an orderly end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from fieldengine.config.scene import Evaluation, Training
from fieldengine.errors import RunError, TrainingError
from fieldengine.kinds.field import Advancing
from fieldengine.metrics.psnr import decibels
from fieldengine.plugins.blame import blaming
from fieldengine.training import checkpoint
from fieldengine.training.fit import Fit
from fieldengine.training.guards import checked_state, hook_call
from fieldengine.training.optimizer import set_lr
from fieldengine.training.schedule import lr_factor
from fieldengine.training.step import training_step


@dataclass
class Progress:
    """How far a training has come. `seconds` counts training alone, without evaluation and checkpoints."""

    step: int = 0
    seconds: float = 0.0


class Watcher(Protocol):
    """Whoever follows a training: a run folder and a progress bar, a notebook, a test."""

    def stepped(self, step: int, loss: float, psnr: float, seconds: float) -> None:
        """After every logged step."""
        ...

    def logged(self, line: dict[str, Any]) -> None:
        """A line of metrics."""
        ...

    def checkpoint(self, step: int, state: dict[str, Any]) -> None: ...


def train(
    fit: Fit,
    training: Training,
    evaluation: Evaluation,
    progress: Progress,
    watcher: Watcher,
    evaluate: Callable[[], dict[str, float]],
    interrupted: Callable[[], bool] = lambda: False,
) -> tuple[str, dict[str, float]]:
    """Train from `progress` to the end, or until `interrupted` after a step.

    Returns:
        the status, `done` or `interrupted`, and the scores of the last evaluation.

    Raises TrainingError when the loss is no longer finite.
    """
    scores: dict[str, float] = {}
    scored_at = -1
    advancing = [module for module in fit.field.modules() if isinstance(module, Advancing)]
    while not finished(training, progress) and not interrupted():
        step = progress.step
        started = time.perf_counter()
        for part in advancing:
            part.advance(step / training.steps)
        lr = set_lr(fit.optimizer, lr_factor(training.schedule, step, training.steps))
        report = training_step(fit, step)
        log = step % training.log_every == 0 or step + 1 == training.steps
        loss = float(report.loss) if log else 0.0  # reading it waits for the device
        progress.step, progress.seconds = step + 1, progress.seconds + time.perf_counter() - started
        if log:
            further = {name: float(value) for name, value in report.losses.items()}
            if fit.regularizers:
                further["penalty"] = float(report.penalty)
            for what, number in {"loss": loss, **further}.items():
                if not math.isfinite(number):
                    raise _diverged(f"the {what} became {number}", progress)
            value = decibels(float(report.squared_error))
            watcher.stepped(progress.step, loss, value, progress.seconds)
            watcher.logged(
                {
                    "step": progress.step,
                    "seconds": round(progress.seconds, 3),
                    "loss": loss,
                    **further,
                    "psnr_batch": value,
                    "lr": lr,
                    "items": report.n_items,
                }
            )
        if progress.step < training.steps:
            if evaluation.every and progress.step % evaluation.every == 0:
                scores, scored_at = _evaluate(fit, progress, watcher, evaluate), progress.step
            if progress.step % training.checkpoint_every == 0:
                _checkpoint(fit, progress, watcher)
    stopped = interrupted()
    _checkpoint(fit, progress, watcher)
    if stopped and progress.step < training.steps:
        return "interrupted", scores
    if scored_at != progress.step:
        scores = _evaluate(fit, progress, watcher, evaluate)
    return "done", scores


def _evaluate(
    fit: Fit, progress: Progress, watcher: Watcher, evaluate: Callable[[], dict[str, float]]
) -> dict[str, float]:
    with fit.ema.applied():
        scores = evaluate()
    watcher.logged({"step": progress.step, "seconds": round(progress.seconds, 3), **scores})
    return scores


def _checkpoint(fit: Fit, progress: Progress, watcher: Watcher) -> None:
    if not all(bool(parameter.isfinite().all()) for parameter in fit.parameters):
        raise _diverged("weights are no longer finite", progress)
    watcher.checkpoint(progress.step, state_of(fit, progress))


def _diverged(what: str, progress: Progress) -> TrainingError:
    return TrainingError(
        f"{what} at step {progress.step}. Lower training.lr, or set training.clip; checkpoints from before are kept"
    )


def finished(training: Training, progress: Progress) -> bool:
    """Whether there is nothing left to train."""
    out_of_time = training.max_seconds is not None and progress.seconds >= training.max_seconds
    return progress.step >= training.steps or out_of_time


def _hooks(fit: Fit) -> list[Any]:
    """The working hooks, each once, in a fixed order."""
    unique: dict[int, Any] = {
        id(hook): hook for hook in (fit.sampler, fit.transform, *fit.regularizers) if hook is not None
    }
    return list(unique.values())


def state_of(fit: Fit, progress: Progress) -> dict[str, Any]:
    """All that a training needs to go on to the same bits."""
    hooks = {str(i): _state_of_hook(fit, hook) for i, hook in enumerate(_hooks(fit)) if hasattr(hook, "state_dict")}
    return {
        "step": progress.step,
        "seconds": progress.seconds,
        "tile": fit.tile,
        "field": fit.field.state_dict(),
        "renderer": fit.renderer.state_dict(),
        "dataset": _state_of(fit.dataset),
        "optimizer": fit.optimizer.state_dict(),
        "ema": fit.ema.state_dict(),
        "hooks": hooks,
        **fit.context.random_state(),
    }


def _state_of_hook(fit: Fit, hook: Any) -> Mapping[str, Any]:
    with hook_call(fit, hook, "state_dict"):
        return checked_state(hook.state_dict())


def _state_of(dataset: Any) -> dict[str, Any]:
    """Of a data set that owns parameters; of others nothing."""
    return dataset.state_dict() if isinstance(dataset, nn.Module) else {}


def restore(fit: Fit, state: dict[str, Any], path: Any) -> Progress:
    """Put a training back to a saved state. Raises RunError where it does not fit or is damaged."""
    try:
        return _restore(fit, state, path)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as reason:
        raise RunError(
            path, f"is damaged: its state cannot be put back ({type(reason).__name__}: {reason})"
        ) from reason


def _restore(fit: Fit, state: dict[str, Any], path: Any) -> Progress:
    checkpoint.load_module(fit.field, state["field"], path, "field")
    checkpoint.load_module(fit.renderer, state["renderer"], path, "renderer")
    if isinstance(fit.dataset, nn.Module):
        checkpoint.load_module(fit.dataset, state["dataset"], path, "data set")
    checkpoint.optimizer_state(fit.optimizer, state["optimizer"], path)
    fit.ema.load_state_dict(state["ema"])
    for i, hook in enumerate(_hooks(fit)):
        if hasattr(hook, "state_dict"):
            with blaming(fit.plugins):
                hook.load_state_dict(state["hooks"][str(i)])
    fit.context.set_random_state(state)
    fit.tile = max(1, int(state["tile"]))
    return Progress(int(state["step"]), float(state["seconds"]))
