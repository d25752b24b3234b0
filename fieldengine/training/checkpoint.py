"""Checkpoints: the whole state of a training as tensors and JSON, written so that a reader meets all of it or nothing.

A checkpoint is a folder `step_00001000` with `state.safetensors` and `state.json`. It is written under another name
and renamed when both files are on the disk. Loading it cannot run code.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fieldengine.errors import RunError
from fieldengine.kinds.kind import Module

KEEP = 2  # the one before stays readable if the last is damaged
TENSOR = "$tensor"


def save(folder: Path, step: int, state: Mapping[str, Any], keep: int | None = KEEP) -> Path:
    """Write `state`, a tree of dicts, lists, tensors and JSON scalars, as a step's checkpoint.

    Of all that are then there the newest `keep` stay; None keeps all.
    """
    tensors: dict[str, Tensor] = {}
    tree = _pack(state, "", tensors)
    final = folder / f"step_{step:08d}"
    temporary = folder / f".step_{step:08d}.partial"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(tensors, temporary / "state.safetensors")
        (temporary / "state.json").write_text(json.dumps(tree), encoding="utf-8")
        for file in temporary.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        aside = folder / f".step_{step:08d}.replaced"
        if final.exists():  # as when a finished run is resumed
            shutil.rmtree(aside, ignore_errors=True)
            final.rename(aside)
        temporary.rename(final)
        shutil.rmtree(aside, ignore_errors=True)
    except (OSError, SafetensorError) as reason:
        raise RunError(final, f"cannot be written: {getattr(reason, 'strerror', None) or reason}") from reason
    for old in list_checkpoints(folder)[:-keep] if keep else ():
        shutil.rmtree(old, ignore_errors=True)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return (
        sorted(path for path in folder.glob("step_*") if path.is_dir() and path.name[5:].isdigit())
        if folder.is_dir()
        else []
    )


def step_of(path: Path) -> int:
    """The step of a checkpoint in its folder."""
    return int(path.name.removeprefix("step_"))


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote, tensors on the CPU. Raises RunError for what is damaged."""
    try:
        tensors = load_file(path / "state.safetensors")
        tree = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, SafetensorError, ValueError, RecursionError) as reason:
        said = getattr(reason, "strerror", None) or reason
        raise RunError(
            path, f"is damaged and cannot be read: {said}. Remove it to fall back to the one before"
        ) from reason
    if not isinstance(tree, dict):
        raise RunError(path, "is damaged: state.json holds no state")
    return _unpack(tree, tensors, path)


def load_module(module: Module, state: Mapping[str, Any], path: Path, part: str) -> None:
    """Give a module its tensors back. Raises RunError as `check_module`."""
    check_module(module, state, path, part)
    module.load_state_dict(dict(state))


def check_module(module: Module, state: Mapping[str, Any], path: Path, part: str) -> None:
    """Raise RunError that names every tensor missing, unexpected or of another shape."""
    wanted = module.state_dict()
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise RunError(path, f"is damaged: the state of the {part} is not made of tensors")
    complaints = [f"{name} is missing" for name in wanted if name not in state]
    complaints += [f"{name} is not part of this {part}" for name in state if name not in wanted]
    complaints += [
        f"{name} has shape {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if complaints:
        more = f"; and {len(complaints) - 4} more" if len(complaints) > 4 else ""
        raise RunError(path, f"does not fit the {part} of this scene: {'; '.join(complaints[:4])}{more}")


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().clone().contiguous()
        return {TENSOR: path}
    if isinstance(value, Mapping):
        return {str(key): _pack(child, _below(path, key), tensors) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(child, _below(path, i), tensors) for i, child in enumerate(value)]
    return value


def _below(path: str, key: object) -> str:
    """The name of a tensor below `path`; a slash inside a key is escaped, so that no two tensors share a name."""
    name = str(key).replace("~", "~0").replace("/", "~1")
    return f"{path}/{name}"


def _unpack(value: Any, tensors: Mapping[str, Tensor], path: Path) -> Any:
    if isinstance(value, dict):
        if set(value) == {TENSOR}:
            name = str(value[TENSOR])
            if name not in tensors:
                raise RunError(path, f"is damaged: tensor {name} is missing from state.safetensors")
            return tensors[name]
        return {key: _unpack(child, tensors, path) for key, child in value.items()}
    return [_unpack(child, tensors, path) for child in value] if isinstance(value, list) else value


def optimizer_state(optimizer: torch.optim.Optimizer, found: Mapping[str, Any], path: Path) -> None:
    """Give an optimizer its state and learning rates back; its other settings are the scene's.

    Raises RunError for what does not fit.
    """
    groups = [len(group["params"]) for group in optimizer.param_groups]
    try:
        saved = [len(group["params"]) for group in found["param_groups"]]
        state = {int(key): dict(value) for key, value in found["state"].items()}  # JSON has made text of the numbers
    except (KeyError, TypeError, ValueError, AttributeError) as reason:
        raise RunError(path, f"is damaged: the optimizer's state cannot be read ({reason})") from reason
    if saved != groups:
        raise RunError(
            path, f"does not fit this scene: its optimizer has parameters in groups of {saved}, not {groups}"
        )
    for i, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        missing = {"step", "exp_avg", "exp_avg_sq"} - set(state.get(i, {})) if state else set()
        if missing:
            raise RunError(path, f"is damaged: optimizer state {i} has no {', '.join(sorted(missing))}")
        for name, value in state.get(i, {}).items():
            if not isinstance(value, Tensor):
                raise RunError(path, f"is damaged: optimizer state {i}.{name} is no tensor")
            if value.ndim and value.shape != parameter.shape:
                raise RunError(
                    path,
                    f"does not fit this scene: optimizer state {i}.{name} has shape {tuple(value.shape)} "
                    f"instead of {tuple(parameter.shape)}",
                )
    own = optimizer.state_dict()["param_groups"]
    for i, (group, settings) in enumerate(zip(own, found["param_groups"], strict=True)):
        for name, value in group.items():
            if name != "params" and not _alike(value, settings.get(name)):
                raise RunError(
                    path, f"is damaged: setting {name} of the optimizer's group {i} is {settings.get(name)!r}"
                )
        group["lr"] = settings["lr"]
    try:
        optimizer.load_state_dict({"param_groups": own, "state": state})
    except ValueError as reason:
        raise RunError(path, f"does not fit this scene: {reason}") from reason


def _alike(own: Any, saved: Any) -> bool:
    """Whether a setting may take another's place: a number a number's, as many of them a tuple's."""
    if isinstance(own, list | tuple):
        return isinstance(saved, list | tuple) and len(own) == len(saved) and all(map(_alike, own, saved))
    is_number = isinstance(own, int | float) and not isinstance(own, bool)
    return isinstance(saved, int | float) and not isinstance(saved, bool) if is_number else type(own) is type(saved)
