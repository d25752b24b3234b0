"""A grid of pixels from its description, as it is kept in checkpoints and field files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fieldengine.cameras.camera import Camera
from fieldengine.cameras.grid import SignalGrid
from fieldengine.kinds.camera import CameraModel
from fieldengine.plugins.guest import with_defaults
from fieldengine.plugins.registry import Registry
from fieldengine.types import PixelGrid


def restore(description: Mapping[str, Any], registry: Registry) -> PixelGrid:
    """The inverse of `PixelGrid.describe`. Raises ValueError for what is neither, PluginError for an unknown model."""
    parts = dict(description)
    kind = parts.pop("kind", None)
    if kind == "camera":
        pose = tuple(tuple(row) for row in parts["pose"])
        model = camera_model(parts["name"], registry)
        return Camera(**{**parts, "pose": pose, "parameters": tuple(parts["parameters"])}, model=model)
    if kind == "grid":
        return SignalGrid(tuple(parts["shape"]), tuple(parts["measured"]), parts["placement"])
    raise ValueError(f'no grid of pixels "{kind}"')


def camera_model(name: str, registry: Registry) -> CameraModel:
    """The camera model of this name, called with care. Raises PluginError."""
    return with_defaults(registry.find("cameras", name), "")
