"""A run folder: what a training was, how it went, what came of it.

`scene.yaml` as run, `metrics.jsonl`, `summary.json`, `checkpoints/`, `images/`, `log.txt`. `load` opens a run folder
or a field file; neither needs the data.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fieldengine.config import document
from fieldengine.runs.build import TrainedField, build_dataset, choose_device, rebuild
from fieldengine.errors import PluginError, RunError
from fieldengine.export.command import export_file
from fieldengine.export.field import read_field_file
from fieldengine.export.files import atomic
from fieldengine.export.render import render_file
from fieldengine.fields.collapse import collapse_like
from fieldengine.precision import matrix_products
from fieldengine.kinds.dataset import Dataset
from fieldengine.plugins.registry import Registry
from fieldengine.datasets import domain as domains
from fieldengine.config.scene import SceneConfig, check_scene, differences
from fieldengine.training import checkpoint
from fieldengine.metrics.evaluate import SPLITS, evaluate, find_metrics, named, why_not
from fieldengine.types import Domain, RunContext

# keys that may change when a run is resumed: they decide how long it goes on and what is looked at on the way
FREE_ON_RESUME = (
    "training.steps",
    "training.max_seconds",
    "training.log_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "evaluation",
)
FORMAT = 1


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.images = path / "images"

    @classmethod
    def create(cls, scene: str, out: Path | None) -> RunFolder:
        """A new folder: `out`, or runs/<scene>, or the next free number.

        Raises RunError; never touches what is there.
        """
        path = out or _next_free(Path("runs") / scene)
        if path.exists() and not path.is_dir():
            raise RunError(path, "is a file; --out names a folder")
        if path.is_dir() and any(path.iterdir()):
            raise RunError(
                path, "already holds something and is not overwritten. Add --resume to go on, or choose another --out"
            )
        folder = cls(path)
        try:
            for part in (path, folder.checkpoints, folder.images):
                part.mkdir(parents=True, exist_ok=True)
            probe = path / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as reason:
            raise RunError(path, f"cannot be written: {reason.strerror}. Choose another --out") from reason
        return folder

    @classmethod
    def to_resume(cls, scene: str, out: Path | None) -> RunFolder:
        """`out`, or the newest run of this scene that has a checkpoint. Raises RunError where there is none."""
        if out is not None:
            if not out.is_dir():
                raise RunError(out, "no such run folder; nothing to resume")
            folder = cls(out)
            folder.last_checkpoint()
            return folder
        candidates = [path for path in Path("runs").glob(f"{scene}*") if _belongs(path.name, scene)]
        started = [path for path in candidates if checkpoint.list_checkpoints(path / "checkpoints")]
        if not started:
            raise RunError(
                Path("runs") / scene,
                "no run of this scene has a checkpoint to resume from. Leave out --resume to start one",
            )
        return cls(max(started, key=lambda path: path.stat().st_mtime))

    def last_checkpoint(self) -> Path:
        found = checkpoint.list_checkpoints(self.checkpoints)
        if not found:
            what = (
                "has no checkpoint"
                if (self.path / "scene.yaml").exists()
                else "is not a run folder: it has no checkpoints/"
            )
            raise RunError(self.path, f"{what}. Train first: fieldengine train SCENE --out {self.path}")
        return found[-1]

    def steps(self) -> list[int]:
        """Those that have a checkpoint. Raises RunError where there is none."""
        self.last_checkpoint()
        return [int(path.name.removeprefix("step_")) for path in checkpoint.list_checkpoints(self.checkpoints)]

    def load_checkpoint(self, step: int | None = None) -> dict[str, Any]:
        """That of a step, or the last. Raises RunError where there is none, or none that this version reads."""
        path = self.last_checkpoint()
        if step is not None and step not in self.steps():
            there = ", ".join(map(str, self.steps()))
            raise RunError(self.path, f"has no checkpoint of step {step}. Steps: {there}")
        path = path if step is None else path.with_name(f"step_{step:08d}")
        found = checkpoint.load(path)
        if "format" not in found:
            raise RunError(path, "is damaged: it has no format")
        if found["format"] != FORMAT:
            raise RunError(path, f"has format {found['format']}; this fieldengine reads {FORMAT}. Update fieldengine")
        return found

    def write_scene(self, config: SceneConfig) -> None:
        with atomic(self.path / "scene.yaml") as file:
            file.write_text(document.write(config.plain), encoding="utf-8")

    def read_scene(self, registry: Registry) -> SceneConfig:
        return check_scene(document.read(self.path / "scene.yaml"), self.path.name, registry)

    def settled(self, config: SceneConfig) -> SceneConfig:
        """A scene whose keys that are `auto` have the numbers that were chosen when this run began."""
        if not config.open_keys:
            return config
        chosen = dict(document.walk(document.read(self.path / "scene.yaml").plain()))
        return config.with_values({key: chosen[key] for key in config.open_keys if key in chosen})

    def refuse_changes(self, config: SceneConfig) -> None:
        """Raise RunError that lists the keys in which a scene differs from the one this run was started with."""
        before = document.read(self.path / "scene.yaml").plain()
        changed = {
            key: values
            for key, values in differences(before, config.plain).items()
            if not any(key == free or key.startswith(free + ".") for free in FREE_ON_RESUME)
        }
        if changed:
            listing = "; ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in changed.items())
            raise RunError(
                self.path, f"was started with another scene: {listing}. Undo that, or train a new run without --resume"
            )

    def log(self, line: Mapping[str, Any]) -> None:
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def say(self, text: str) -> None:
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def forget_after(self, step: int, *, scores_too: bool) -> None:
        """Drop metrics of steps that a resumed run will do again; `scores_too` drops this step's evaluation as well."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []

        def again(line: str) -> bool:
            return scores_too and "loss" not in json.loads(line)

        with atomic(path) as file:
            kept = [line for line in lines if _step_of(line) < step or (_step_of(line) == step and not again(line))]
            file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        with atomic(self.path / "summary.json") as file:
            file.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")

    def read_summary(self) -> dict[str, Any]:
        path = self.path / "summary.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (OSError, ValueError, RecursionError) as reason:
            raise RunError(path, f"cannot be read as JSON: {reason}") from reason
        if not isinstance(found, dict) or not isinstance(found.get("metrics", {}), dict):
            raise RunError(path, "is not the summary of a run")
        return found

    def save_checkpoint(
        self, step: int, trained: TrainedField, training: Mapping[str, Any], keep: int | None = checkpoint.KEEP
    ) -> None:
        state = {
            "format": FORMAT,
            "recipe": trained.recipe,
            "domain": domains.describe(trained.domain),
            "training": training,
        }
        checkpoint.save(self.checkpoints, step, state, keep)


@dataclass
class Run:
    """A trained field with its story.

    Attributes:
        folder: the run folder, or None where it came from a field file.
        trained: field, renderer, domain.
        summary: the contents of summary.json; empty for a field file.
        source: the field file it was loaded from, or None.
    """

    folder: Path | None
    trained: TrainedField
    summary: dict[str, Any] = field(default_factory=dict)
    source: Path | None = None

    @property
    def field(self) -> nn.Module:
        """The field: call it with points (m, d) in the data's own coordinates."""
        return self.trained.field

    @property
    def domain(self) -> Domain:
        return self.trained.domain

    @property
    def metrics(self) -> dict[str, float]:
        """The scores, such as `psnr`, `test_psnr`, `iou`."""
        return self.summary.get("metrics") or self.trained.recipe.get("metrics", {})

    @property
    def status(self) -> str:
        return self.summary.get("status", "done")

    def render(self, out: str | Path | None = None, **options: Any) -> Path:
        """Write an image or a video and return its path; options as of `fieldengine.export.render.render_file`."""
        folder = self.folder / "images" if self.folder else Path()
        with self._products():
            return render_file(self.trained, None if out is None else Path(out), folder=folder, **options)

    def export(self, kind: str, out: str | Path, **options: Any) -> str:
        """Write `mesh`, `points` or `field` to a file and return a sentence about it; options as of `plugins show`."""
        with self._products():
            return export_file(self.trained, kind, Path(out), options)

    def evaluate(self, split: str = "test", metrics: Sequence[str] = ()) -> dict[str, float]:
        """Score the field anew on a split. Reads the scene's data; raises RunError for a field file, which has none.

        `metrics` are names of scores of images, such as `ms_ssim`; none takes those of the run's own scene.
        """
        config, folder = self._scene(), self.folder or Path()
        if split not in SPLITS:
            raise RunError(folder, f'no split "{split}". Splits: {", ".join(SPLITS)}')
        dataset = self.dataset()
        try:
            chosen = find_metrics(metrics, Registry()) if metrics else named(config.evaluation.metrics)
        except PluginError as reason:
            raise RunError(folder, str(reason)) from reason
        obstacle = why_not(chosen, dataset, [split], config.usual_metrics)
        if obstacle:
            raise RunError(folder, obstacle)
        with self._products():
            scores = evaluate(self.trained, dataset, [split], chosen)
        if chosen and not scores:
            raise RunError(folder, f'the data has no split "{split}"')
        return scores

    def dataset(self) -> Dataset:
        """The data it was trained on, read again. Raises RunError for a field file, DataError for what is gone."""
        config = self._scene()
        device = self.domain.aabb.lower.device
        context = RunContext(device, torch.Generator().manual_seed(config.training.seed), config.training.seed)
        return build_dataset(config, context)

    def _scene(self) -> SceneConfig:
        if self.folder is None:
            raise RunError(self.source or "a field file", "holds no data to score it on; evaluate its run folder")
        return RunFolder(self.folder).read_scene(Registry())

    def _products(self) -> AbstractContextManager[None]:
        return matrix_products("float32", self.domain.aabb.lower.device)


def load(path: str | Path, device: str = "auto", step: int | None = None) -> Run:
    """Open a run folder or a field file (.safetensors). Neither needs the scene's data.

    Args:
        path: of either.
        device: auto, cpu or cuda.
        step: of a run folder, whose checkpoint is opened; 0 is the field before it was trained, None the last.

    Raises RunError for what is missing, damaged, or does not fit.
    """
    path, chosen = Path(path), choose_device(device)
    if path.is_file():
        header, tensors = read_field_file(path)
        trained = _restored(header, path, chosen)
        collapse_like(trained.field, {key.removeprefix("field."): value for key, value in tensors.items()})
        for part, module in (("field", trained.field), ("renderer", trained.renderer)):
            state = {
                key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")
            }
            checkpoint.load_module(module, state, path, part)
        return Run(None, trained, source=path)
    if not path.exists():
        raise RunError(path, "no such run folder or field file")
    folder = RunFolder(path)
    last = folder.last_checkpoint()
    found = folder.load_checkpoint(step or None)
    if step == 0:
        seed = folder.read_scene(Registry()).training.seed
        return Run(path, _restored(found, last, chosen, seed))
    trained = _restored(found, last, chosen)
    try:
        training = found["training"]
        weights, around = {**training["field"], **training["ema"]["average"]}, training["renderer"]
    except (KeyError, TypeError) as reason:
        raise RunError(last, f"is damaged: it has no {reason}") from reason
    checkpoint.load_module(trained.field, weights, last, "field")
    checkpoint.load_module(trained.renderer, around, last, "renderer")
    summary = folder.read_summary()
    trained.recipe["metrics"] = summary.get("metrics", {})
    return Run(path, trained, summary)


def _restored(header: Mapping[str, Any], source: Path, device: torch.device, seed: int = 0) -> TrainedField:
    try:
        domain = domains.restore(header["domain"], device, Registry())
        trained = rebuild(header["recipe"], domain, device, Registry(), source, seed)
    except (KeyError, TypeError, AttributeError, ValueError) as reason:
        raise RunError(source, f"is damaged: its description of the field cannot be read ({reason})") from reason
    trained.recipe["metrics"] = header["recipe"].get("metrics", {})
    return trained


def _next_free(path: Path) -> Path:
    """Make and return `path`, or path-2, path-3, ...: whichever did not exist, also when two runs start at once."""
    number, candidate = 1, path
    while True:
        try:
            candidate.mkdir(parents=True)
        except FileExistsError as reason:
            if not candidate.exists() or not candidate.parent.is_dir():  # a file or a broken link stands in the way
                raise RunError(
                    path, "cannot be written: a file or a broken link is in its place. Choose another folder with --out"
                ) from reason
            number += 1
            candidate = path.with_name(f"{path.name}-{number}")
        except OSError as reason:
            raise RunError(path, f"cannot be written: {reason.strerror}. Choose another folder with --out") from reason
        else:
            return candidate


def _belongs(name: str, scene: str) -> bool:
    rest = name.removeprefix(scene)
    return name.startswith(scene) and (rest == "" or (rest[0] == "-" and rest[1:].isdigit()))


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut short by a kill
        return 1 << 62
