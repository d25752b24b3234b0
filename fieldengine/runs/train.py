"""From a scene file to a run: what `fieldengine train` and `fieldengine.train` do."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from fieldengine.config.scene import SceneConfig, read_scene
from fieldengine.domain import nyquist_limit
from fieldengine.errors import FieldEngineError, SceneError, TrainingError, is_out_of_memory
from fieldengine.export.render import show
from fieldengine.files.digest import digests
from fieldengine.kinds.dataset import Dataset, files_of
from fieldengine.memory import keep_freed_memory, peak_memory_mb
from fieldengine.metrics.evaluate import evaluate, named, try_metrics, why_not
from fieldengine.ops import backends
from fieldengine.plugins.blame import blaming, called
from fieldengine.plugins.guest import plugins_of
from fieldengine.precision import float32_by_default, matrix_products
from fieldengine.progress import TrainingBar
from fieldengine.runs.build import TrainedField, build_dataset, build_fit, choose_device
from fieldengine.runs.folder import RunFolder
from fieldengine.runs.load import Run
from fieldengine.runs.process import Interruption, interruption, one_training, refuse_fork
from fieldengine.runs.suggest import Suggestion, choose_open_keys, suggestions_for
from fieldengine.training import loop
from fieldengine.training.checkpoint import list_checkpoints, step_of
from fieldengine.training.compiled import choose_compiled
from fieldengine.training.fit import Fit
from fieldengine.training.loop import Progress
from fieldengine.training.trial import choose_tile
from fieldengine.types import PixelGrid, RunContext


def train(
    scene: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    quiet: bool = True,
    console: Console | None = None,
) -> Run:
    """Train a scene and return the run.

    Args:
        scene: the scene file.
        overrides: `a.b=value` texts, or a mapping such as {"training.steps": 500}.
        out: run folder; None takes runs/<scene name>, or the next free number.
        resume: go on from the last checkpoint of `out`, or of the newest run of this scene.
        device: auto, cpu or cuda.
        quiet: print warnings only.
        console: where to print; None is the standard error stream.

    Raises FieldEngineError; its `exit_code` is 2 where the input is wrong and 1 where training failed.
    """
    console = console or Console(stderr=True)
    refuse_fork()
    with (
        one_training(lambda said: console.print(said, highlight=False, soft_wrap=True)),
        float32_by_default(),
        interruption() as interrupted,
    ):
        return _train(Path(scene), overrides, out, resume, device, quiet, console, interrupted)


def _train(
    scene: Path,
    overrides: Sequence[str] | Mapping[str, Any],
    out: str | Path | None,
    resume: bool,
    device: str,
    quiet: bool,
    console: Console,
    interrupted: Interruption,
) -> Run:
    started = time.perf_counter()
    interrupted.patient = False  # until there is something to keep
    config = read_scene(scene, overrides)
    chosen = choose_device(device)
    backends.preferred()  # kernels that do not exist are refused before anything is made
    keep_freed_memory()
    place = None if out is None else Path(out)
    folder = RunFolder.to_resume(config.name, place) if resume else RunFolder.create(config.name, place)
    record = _Record(folder, console, quiet)
    seed = config.training.seed
    context = RunContext(chosen, torch.Generator().manual_seed(seed), seed, warn_once=record.warn_once)
    saved = None
    if resume:
        config = folder.with_chosen_values(config)
        folder.refuse_changes(config)
        saved = folder.load_checkpoint()
    try:
        with config.placed(), blaming(config.plugins):
            dataset = build_dataset(config, context)
            data = digests(files_of(dataset))
            if resume and config.training.data_changed == "refuse":
                folder.refuse_changed_data(data)
            _refuse_what_cannot_be_scored(config, dataset)
            config, suggestions = choose_open_keys(config, dataset, context)
            fit, trained = build_fit(config, dataset, context)
            notes = [*dataset.notes(), *beyond_the_data(trained)]
    except BaseException as reason:  # whatever it was, no empty run folder stays behind
        if isinstance(reason, KeyboardInterrupt):
            console.print("interrupted before training began", highlight=False)
        if not resume:
            _undo(folder)
        else:
            folder.say(f"not resumed: {reason}")
        raise
    progress = Progress()
    if saved is not None:
        progress = loop.restore(fit, saved.get("training", {}), folder.last_checkpoint())
        folder.forget_after(progress.step, scores_too=loop.finished(config.training, progress))
    folder.write_scene(config)
    folder.write_data(data)
    for suggestion in suggestions:
        best = suggestion.best
        record.tell(f"{suggestion.key}: {best.value:g}, whose spectrum lies {best.distance:.3g} cycles from the data's")
    for note in notes:
        record.warn(note)
    record.tell(_headline(folder, trained, dataset.n_items, chosen, progress.step))
    summary = _story(config, trained, chosen)
    ran = backends.Record()
    interrupted.patient = True
    try:
        with ran, blaming(config.plugins, TrainingError), matrix_products(config.training.precision, chosen):
            if config.training.tile == "auto" and saved is None:
                fit.tile = choose_tile(fit)
            note = choose_compiled(fit, config.training.compile, config.training.steps - progress.step)
            if note:
                record.tell(note)
            status, scores = _run(config, fit, trained, progress, record, interrupted)
    except BaseException as reason:  # whatever it was, the run folder says why before it goes on its way
        at_once = isinstance(reason, KeyboardInterrupt)
        if at_once:
            record.warn(_at_once(folder, progress))
        else:
            folder.say(f"failed: {type(reason).__name__}: {reason}")
        folder.write_summary(
            {
                **summary,
                "status": "interrupted" if at_once else "failed",
                "reason": str(reason),
                **_figures(progress, ran, started, chosen),
                "metrics": {},
            }
        )
        if is_out_of_memory(reason):
            raise TrainingError("ran out of memory. Lower training.tile, or training.batch_size") from reason
        raise
    summary = {
        **summary,
        "status": status,
        "tile": fit.tile,
        **_figures(progress, ran, started, chosen),
        "metrics": scores,
    }
    folder.write_summary(summary)
    trained.recipe["metrics"] = scores
    record.tell(_closing(folder, status, scores or _why_no_scores(config, dataset), progress))
    return Run(folder.path, trained, summary)


def suggest(
    scene: str | Path, overrides: Sequence[str] | Mapping[str, Any] = (), *, device: str = "auto"
) -> list[Suggestion]:
    """Compare candidates of the keys that are `auto`, or of all that could be, without training.

    Raises SceneError where a scene has no such key, or its data no spectrum.
    """
    config = read_scene(Path(scene), overrides)
    if not config.candidates:
        raise SceneError(
            "no key of this scene has candidates, as frequencies of sine activations and of Fourier features do: "
            "field.activation=siren field.encoding=identity"
        )
    context = RunContext(
        choose_device(device), torch.Generator().manual_seed(config.training.seed), config.training.seed
    )
    products = matrix_products("float32", context.device)
    with config.placed(), blaming(config.plugins), float32_by_default(), products:
        return suggestions_for(config, build_dataset(config, context), context)


def _refuse_what_cannot_be_scored(config: SceneConfig, dataset: Dataset) -> None:
    """Raise SceneError for a metric that does not suit the data, PluginError for broken views or metrics."""
    metrics = named(config.evaluation.metrics)
    with called("views", plugins_of(config.dataset, config.evaluation.metrics)):
        obstacle = why_not(metrics, dataset, config.evaluation.splits, config.usual_metrics)
    if obstacle:
        raise SceneError(obstacle, key="evaluation.metrics")
    try_metrics(metrics, dataset.domain)


def _run(
    config: SceneConfig,
    fit: Fit,
    trained: TrainedField,
    progress: Progress,
    record: _Record,
    interrupted: Interruption,
) -> tuple[str, dict[str, float]]:
    bar = TrainingBar(record.console, config.training.steps, record.quiet)
    keep = config.training.keep_checkpoints
    watcher = _Watcher(record.folder, bar, trained, None if keep == "all" else keep)
    splits, most, metrics = config.evaluation.splits, config.evaluation.max_views, named(config.evaluation.metrics)

    def scored() -> dict[str, float]:
        interrupted.patient = not loop.finished(config.training, progress)  # there is a checkpoint of the last step
        with matrix_products("float32", fit.context.device):  # as `fieldengine eval` scores, however it was trained
            return evaluate(trained, fit.dataset, splits, metrics, most)

    with bar.shown():
        status, scores = loop.train(
            fit,
            config.training,
            config.evaluation,
            progress,
            watcher,
            scored,
            interrupted,
        )
    fit.ema.adopt()  # from here on the field is the one that was scored
    if status == "done" and trained.domain.grid is not None:
        _show(config, trained, trained.domain.grid, record, progress.step)
    return status, scores


def _show(config: SceneConfig, trained: TrainedField, grid: PixelGrid, record: _Record, step: int) -> None:
    """Write what the field shows. A training that has ended keeps its scores where that fails: the log says why."""
    try:
        with blaming(config.plugins):
            show(trained, record.folder.images / f"step_{step:08d}", grid)
    except FieldEngineError as reason:
        record.warn(str(reason))


def beyond_the_data(trained: TrainedField) -> Iterator[str]:
    """A sentence for each part of a field that has frequencies which the data cannot tell from lower ones."""
    limit = nyquist_limit(trained.domain)
    for name, module in trained.field.named_modules():
        highest = getattr(module, "highest_frequency", None)
        if limit is not None and highest is not None and highest > limit:
            yield (
                f"field.{name} reaches {highest:.0f} radians per unit, {highest / limit:.1f} times the Nyquist limit "
                f"of these pixels, {limit:.0f}: what lies between them will be noise. Lower its frequencies"
            )


@dataclass
class _Record:
    """Says things to the person and to the log."""

    folder: RunFolder
    console: Console
    quiet: bool
    warned: set[str] = field(default_factory=set)

    def warn(self, text: str) -> None:
        self.folder.say(f"warning: {text}")
        self.console.print(f"[yellow]warning:[/] {escape(text)}", highlight=False, soft_wrap=True)

    def warn_once(self, text: str) -> None:
        if text not in self.warned:
            self.warned.add(text)
            self.warn(text)

    def tell(self, text: str) -> None:
        self.folder.say(text)
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=True, markup=False)


@dataclass
class _Watcher:
    """Follows the loop for the run folder and the person."""

    folder: RunFolder
    bar: TrainingBar
    trained: TrainedField
    keep: int | None

    def stepped(self, step: int, loss: float, psnr: float, seconds: float) -> None:
        self.bar.stepped(step, loss, psnr, seconds)

    def logged(self, line: dict[str, Any]) -> None:
        self.folder.log(line)

    def checkpoint(self, step: int, state: dict[str, Any]) -> None:
        self.folder.save_checkpoint(step, self.trained, state, self.keep)


def _headline(folder: RunFolder, trained: TrainedField, n_items: int, device: torch.device, step: int) -> str:
    parts = [trained.recipe["field"]["type"]]
    parts += [part["type"] for part in trained.recipe["field"].values() if isinstance(part, dict)]
    size = f"{n_items:,} items, {_n_parameters(trained):,} parameters"
    what = f"{trained.domain.task}: {' + '.join(parts)}, {size}, on {device.type}"
    where = f"resuming at step {step} in" if step else "run folder"
    return f"{what}\n{where} {folder.path}"


def _at_once(folder: RunFolder, progress: Progress) -> str:
    found = list_checkpoints(folder.checkpoints)
    kept = f"the last checkpoint is of step {step_of(found[-1])}" if found else "there is no checkpoint yet"
    return f"interrupted at step {progress.step} at once; {kept}"


def _why_no_scores(config: SceneConfig, dataset: Dataset) -> str:
    """A clause where the splits to score are not there; empty where there are other reasons."""
    asked = config.evaluation.splits
    if not dataset.splits or any(split in dataset.splits for split in asked) or not config.evaluation.metrics:
        return ""
    return f"no scores, as the data has no split {' or '.join(asked)}; it has {', '.join(dataset.splits)}"


def _closing(folder: RunFolder, status: str, scores: Mapping[str, float] | str, progress: Progress) -> str:
    """`scores`, or why there are none."""
    figures = scores if isinstance(scores, str) else ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
    if status == "interrupted":
        return f"interrupted at step {progress.step}; a checkpoint was written. Go on with --resume --out {folder.path}"
    done = "; ".join(part for part in (f"done: {progress.step} steps in {progress.seconds:.0f} s", figures) if part)
    return f"{done}\nrun folder {folder.path}"


def _story(config: SceneConfig, trained: TrainedField, device: torch.device) -> dict[str, Any]:
    """What is known before training ends."""
    packages = ("fieldengine", "torch", "numpy")
    return {
        "scene": config.name,
        "task": trained.domain.task,
        "n_parameters": _n_parameters(trained),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "seed": config.training.seed,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "plugins": [plugin.as_dict() for plugin in config.plugins],
    }


def _figures(progress: Progress, ran: backends.Record, started: float, device: torch.device) -> dict[str, Any]:
    return {
        "steps": progress.step,
        "seconds_train": round(progress.seconds, 3),
        "seconds_total": round(time.perf_counter() - started, 3),
        "steps_per_second": round(progress.step / progress.seconds, 3) if progress.seconds else 0.0,
        "peak_memory_mb": peak_memory_mb(device),
        "backends": ran.by_operation(),
    }


def _n_parameters(trained: TrainedField) -> int:
    return sum(p.numel() for p in trained.field.parameters())


def _undo(folder: RunFolder) -> None:
    """Remove the empty folder of a run that never began. A file that appeared in it meanwhile keeps it."""
    for part in (folder.checkpoints, folder.images, folder.path):
        try:
            part.rmdir()
        except OSError:
            return
