"""A trained field with its story: opened from a run folder or a field file, neither of which needs the data."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fieldengine import domain as domains
from fieldengine.config.scene import SceneConfig
from fieldengine.errors import PluginError, RunError
from fieldengine.export.command import export_file
from fieldengine.export.field import check_numbers, read_field_file
from fieldengine.export.render import render_file
from fieldengine.fields.collapse import collapse_like
from fieldengine.fields.function import FieldFunction
from fieldengine.files.digest import digests
from fieldengine.kinds.dataset import Dataset, files_of
from fieldengine.memory import TensorsUpTo
from fieldengine.metrics.evaluate import SPLITS, evaluate, find_metrics, named, why_not
from fieldengine.plugins.blame import blaming
from fieldengine.plugins.guest import plugins_of
from fieldengine.plugins.registry import Plugin, Registry
from fieldengine.precision import float32_by_default, matrix_products
from fieldengine.runs.build import TrainedField, build_dataset, choose_device, rebuild
from fieldengine.runs.folder import RunFolder
from fieldengine.runs.process import refuse_fork
from fieldengine.training import checkpoint
from fieldengine.types import Domain, RunContext


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

    @functools.cached_property
    def field(self) -> FieldFunction:
        """The field: call it with points (..., d) in the data's own coordinates."""
        return FieldFunction(self.trained.field, self.domain.aabb)

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
        with self.at_work():
            return render_file(self.trained, None if out is None else Path(out), folder=folder, **options)

    def export(self, kind: str, out: str | Path, **options: Any) -> str:
        """Write `mesh`, `points` or `field` to a file and return a sentence about it; options as of `plugins show`."""
        with self.at_work():
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
        with self.at_work([*config.plugins, *plugins_of(*(one.metric for one in chosen))]):
            obstacle = why_not(chosen, dataset, [split], config.usual_metrics)
            if obstacle:
                raise RunError(folder, obstacle)
            scores = evaluate(self.trained, dataset, [split], chosen)
        if chosen and not scores:
            raise RunError(folder, f'the data has no split "{split}"')
        return scores

    def dataset(self) -> Dataset:
        """The data it was trained on, read again. Raises RunError for a field file, DataError for what is gone."""
        config = self._scene()
        device = self.domain.aabb.lower.device
        context = RunContext(device, torch.Generator().manual_seed(config.training.seed), config.training.seed)
        with self.at_work(config.plugins):
            dataset = build_dataset(config, context)
        if config.training.data_changed == "refuse" and self.folder is not None:
            RunFolder(self.folder).refuse_changed_data(digests(files_of(dataset)))
        return dataset

    def _scene(self) -> SceneConfig:
        if self.folder is None:
            raise RunError(self.source or "a field file", "holds no data to score it on; evaluate its run folder")
        return RunFolder(self.folder).read_scene(Registry())

    @contextmanager
    def at_work(self, plugins: Sequence[Plugin] = ()) -> Iterator[None]:
        """Ask the field inside the block: in float32, and what goes wrong in a stranger's plugin is a RunError.

        Args:
            plugins: those that are at work beside the field's and the renderer's.
        """
        place = self.folder or self.source or Path()
        with (
            blaming([*self.trained.plugins, *plugins], lambda said: RunError(place, said)),
            matrix_products("float32", self.domain.aabb.lower.device),
            float32_by_default(),
        ):
            yield


def load(path: str | Path, device: str = "auto", step: int | None = None) -> Run:
    """Open a run folder or a field file (.safetensors). Neither needs the scene's data.

    Args:
        path: of either.
        device: auto, cpu or cuda.
        step: of a run folder, whose checkpoint is opened; 0 is the field before it was trained, None the last.

    Raises RunError for what is missing, damaged, or does not fit.
    """
    refuse_fork()
    with float32_by_default():
        return _load(Path(path), choose_device(device), step)


def _load(path: Path, chosen: torch.device, step: int | None) -> Run:
    if path.is_file():
        header, tensors = read_field_file(path)
        weights, around = _of("field", tensors), _of("renderer", tensors)
        held = sum(tensor.nbytes for tensor in tensors.values())
        with TensorsUpTo(max(held, 1 << 26), path):  # a few bytes of options may promise a field of any size
            trained = _restored(header, path, chosen)
        collapse_like(trained.field, weights)
        checkpoint.load_module(trained.field, weights, path, "field")
        checkpoint.load_module(trained.renderer, around, path, "renderer")
        check_numbers(header, tensors, path)
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


def _of(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")}


def _restored(header: Mapping[str, Any], source: Path, device: torch.device, seed: int = 0) -> TrainedField:
    try:
        domain = domains.restore(header["domain"], device, Registry())
        trained = rebuild(header["recipe"], domain, device, Registry(), source, seed)
    except (KeyError, TypeError, AttributeError, ValueError) as reason:
        raise RunError(source, f"is damaged: its description of the field cannot be read ({reason})") from reason
    trained.recipe["metrics"] = header["recipe"].get("metrics", {})
    return trained
