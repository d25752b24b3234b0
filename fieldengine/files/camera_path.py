"""Files of camera paths: a list of matrices, a transforms.json, or what nerfstudio's viewer saves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldengine.errors import DataError
from fieldengine.files.lens import Lens, whole_pixels
from fieldengine.files.notes import Note, merged
from fieldengine.files.pose import read_pose
from fieldengine.files.strict_json import Place, legible, number, read_json, shown
from fieldengine.files.transforms import transforms_of

OF_NERFSTUDIO = frozenset(
    ["camera_path", "camera_type", "crop", "fps", "is_cycle", "keyframes", "render_height", "render_width", "seconds",
     "smoothness_value", "default_fov", "default_transition_sec"]
)  # fmt: skip
OF_ITS_CAMERAS = frozenset(["aspect", "camera_to_world", "fov"])


@dataclass(frozen=True)
class Stop:
    """A place on a path: pose (3, 4) camera-to-world, OpenGL axes; `lens` is None where the file states none."""

    pose: NDArray[np.float32]
    lens: Lens | None


@dataclass(frozen=True)
class CameraPath:
    """The stops of a file, at least one; `notes` are sentences for the user."""

    path: Path
    stops: tuple[Stop, ...]
    notes: tuple[str, ...] = ()


def read_camera_path(path: Path) -> CameraPath:
    """The poses of a file and the lens of each.

    Raises DataError for what is none of the known forms, and for poses and lenses as a data set would.
    """
    if not path.exists():
        raise DataError(path, "no such file. A path is `orbit`, `spiral`, or a JSON file of camera poses")
    found = read_json(path)
    if isinstance(found, list) and found:
        poses = [read_pose(rows, Place(path, f"frame {i}"), "matrix") for i, rows in enumerate(found)]
        return CameraPath(path, tuple(Stop(pose, None) for pose in poses))
    if isinstance(found, dict) and "camera_path" in found:
        return _of_nerfstudio(found, path)
    if not isinstance(found, dict) or "frames" not in found:
        raise DataError(path, "holds no list of 4x4 camera-to-world matrices, no `frames` and no `camera_path`")
    transforms = transforms_of(found, path)
    stops = tuple(Stop(frame.pose, frame.lens if frame.lens.is_stated else None) for frame in transforms.frames)
    return CameraPath(path, stops, merged(transforms.notes))


def _of_nerfstudio(found: Mapping[str, Any], path: Path) -> CameraPath:
    """Its angle `fov` is that of the height, in degrees; `camera_to_world` is 16 numbers row by row."""
    whole, cameras = Place(path), found["camera_path"]
    kind = found.get("camera_type", "perspective")
    if kind != "perspective":
        raise whole.wrong(f"`camera_type` is {shown(kind)}; only perspective is rendered")
    if not isinstance(cameras, list) or not cameras:
        raise whole.wrong(f"`camera_path` must be a list with at least one camera, found {shown(cameras)}")
    size = {
        key: whole_pixels(name, found[name], whole)
        for key, name in (("w", "render_width"), ("h", "render_height"))
        if name in found
    }
    stops: list[Stop] = []
    notes = _unknown(found, OF_NERFSTUDIO, whole)
    for i, camera in enumerate(cameras):
        place = Place(path, f"camera {i}")
        if not isinstance(camera, dict):
            raise place.wrong(f"must be an object with `camera_to_world`, found {shown(camera)}")
        numbers = {**size, **_angle(camera, found.get("default_fov"), place)}
        stops.append(Stop(_pose(camera, place), Lens(place, numbers, "pinhole")))
        notes += _unknown(camera, OF_ITS_CAMERAS, place)
    return CameraPath(path, tuple(stops), merged(notes))


def _pose(camera: Mapping[str, Any], place: Place) -> NDArray[np.float32]:
    flat = camera.get("camera_to_world")
    if isinstance(flat, list) and len(flat) == 16:
        flat = [flat[i : i + 4] for i in range(0, 16, 4)]
    return read_pose(flat, place, "camera_to_world")


def _angle(camera: Mapping[str, Any], default: Any, place: Place) -> dict[str, float]:
    fov = number(camera.get("fov", default), "fov", place, unit=" of degrees")
    if not 0 < fov < 180:
        raise place.wrong(f"`fov` must lie between 0 and 180 degrees, found {shown(fov)}")
    return {"camera_angle_y": math.radians(fov)}


def _unknown(found: Mapping[str, Any], known: frozenset[str], place: Place) -> list[Note]:
    names = [f"`{legible(key)}`" for key in found if key not in known]
    return [Note("unknown", place.name, f"keys that are not known are not used: {', '.join(names)}")] if names else []
