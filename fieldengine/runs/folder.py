"""A run folder: what a training was, how it went, what came of it.

`scene.yaml` as run, `data.json` with digests of the data's files, `metrics.jsonl`, `summary.json`, `checkpoints/`,
`images/`, `log.txt`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldengine import domain as domains
from fieldengine.config import document
from fieldengine.config.scene import SceneConfig, check_scene, differences
from fieldengine.errors import RunError
from fieldengine.export.files import atomic
from fieldengine.files.digest import Digests, changes, read_digests
from fieldengine.plugins.registry import Registry
from fieldengine.runs.build import TrainedField
from fieldengine.runs.summary import read_summary, write_summary
from fieldengine.training import checkpoint

# keys that may change when a run is resumed: they decide how long it goes on and what is looked at on the way
FREE_ON_RESUME = (
    "training.steps",
    "training.max_seconds",
    "training.log_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.data_changed",
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
        return [checkpoint.step_of(path) for path in checkpoint.list_checkpoints(self.checkpoints)]

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

    def with_chosen_values(self, config: SceneConfig) -> SceneConfig:
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

    def write_data(self, found: Digests) -> None:
        """Keep the digests of the data's files."""
        if found:
            with atomic(self.path / "data.json") as file:
                file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def refuse_changed_data(self, now: Digests) -> None:
        """Raise RunError that lists which of the data's files are not those that the run began with."""
        try:
            before = read_digests((self.path / "data.json").read_text(encoding="utf-8"))
        except FileNotFoundError:  # data without files
            return
        except (OSError, ValueError) as reason:
            raise RunError(self.path / "data.json", f"is damaged: {reason}. Remove it to go on without it") from reason
        found = changes(before, now)
        if found:
            more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
            raise RunError(
                self.path,
                f"was trained on different data: {'; '.join(found[:4])}{more}. Put the files back, or set "
                "training.data_changed: accept (--resume takes it as an override; for eval write it into the run's "
                "scene.yaml)",
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
        write_summary(self.path, summary)

    def read_summary(self) -> dict[str, Any]:
        return read_summary(self.path)

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
