"""The field itself in one file: tensors and JSON, nothing that runs.

A safetensors file whose metadata holds, under the key `fieldengine`, the options of field and renderer, the domain,
and the metrics. It opens without the scene's data.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fieldengine.domain import describe
from fieldengine.errors import RunError
from fieldengine.export.files import atomic, require_suffix
from fieldengine.fields.collapse import collapsed_state
from fieldengine.kinds.exporter import Trained

FORMAT = 2


@dataclass(frozen=True)
class FieldExporter:
    """The trained field as one safe file (.safetensors).

    `fieldengine.load` opens it without the data; it holds tensors and JSON, nothing that runs. Parametrised weights are
    collapsed to what the layers compute with.
    """

    def write(self, trained: Trained, out: Path) -> str:
        require_suffix(out, (".safetensors",), "a field file")
        states = {"field": collapsed_state(trained.field), "renderer": trained.renderer.state_dict()}
        tensors = {
            f"{name}.{key}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, state in states.items()
            for key, value in state.items()
        }
        header = {
            "format": FORMAT,
            "recipe": trained.recipe,
            "domain": describe(trained.domain),
            "digest": digest(tensors),
        }
        with atomic(out) as temporary:
            try:
                save_file(tensors, temporary, metadata={"fieldengine": json.dumps(header)})
            except SafetensorError as reason:
                raise RunError(out, f"cannot be written: {reason}") from reason
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        return f"{len(tensors)} tensors, {size / 1e6:.1f} MB"


def read_field_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a field file. Raises RunError for what is not one."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("fieldengine", "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, RecursionError) as reason:
        raise RunError(path, f"is not a field file, or is cut short: {reason}") from reason
    if not isinstance(header, dict) or "domain" not in header:
        raise RunError(path, "is a safetensors file, but not one that `fieldengine export field` wrote")
    if header.get("format") == 1:
        return from_format_1(header), tensors
    if header.get("format") != FORMAT:
        raise RunError(path, f"has format {header.get('format')}; this fieldengine reads {FORMAT}. Update fieldengine")
    return header, tensors


def check_numbers(header: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise RunError where a file's numbers are not those that were written; warn where a file does not tell."""
    if header["format"] == 1:
        warnings.warn(
            f"{path}: has format 1, which holds no checksum, so damage would go unnoticed. Export the field again",
            stacklevel=4,
        )
    elif header.get("digest") != digest(tensors):
        raise RunError(path, "is damaged: its numbers do not match its checksum. Export the field again")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all names, types, shapes and numbers."""
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        row = tensor.flatten().clone(memory_format=torch.contiguous_format)  # one number alone may have any stride
        whole.update(row.view(torch.uint8).numpy().data)
    return whole.hexdigest()


def from_format_1(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header as format 2 has it: a camera has a model, and a grid any number of axes. There was no digest."""
    domain = dict(header["domain"])
    if "sensor" not in domain:
        return dict(header)
    grid = domain.pop("sensor")
    if grid is not None and grid["kind"] == "camera":
        grid = {**grid, "name": "pinhole", "parameters": []}
    elif grid is not None:
        shape, measured = [grid["height"], grid["width"]], [grid["rows"], grid["columns"]]
        grid = {"kind": "grid", "shape": shape, "measured": measured, "placement": grid["placement"]}
    return {**header, "domain": {**domain, "grid": grid}}
