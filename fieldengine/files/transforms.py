"""Files of poses, transforms.json: every key is used, known to change nothing, said to be unused, or refused.

The layout of NeRF-synthetic (Mildenhall et al. 2020) with the keys that instant-ngp and nerfstudio added to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldengine.errors import DataError, did_you_mean
from fieldengine.files import lens as lenses
from fieldengine.files.lens import Lens, read_lens
from fieldengine.files.notes import Note
from fieldengine.files.pose import read_pose
from fieldengine.files.strict_json import Place, legible, not_finite, read_json, shown

OF_FRAMES = ("file_path", "transform_matrix")

# what other programs keep for themselves: how they scale a scene, what they measured on the way
HARMLESS = frozenset(
    ["aabb", "aabb_scale", "applied_scale", "applied_transform", "auto_scale_poses_override", "colmap_im_id",
     "enable_depth_loading", "far", "from_na", "integer_depth_scale", "n_extra_learnable_dims", "name", "near",
     "offset", "orientation_override", "ply_file_path", "render_aabb", "rotation", "scale", "sharpness", "up"]
)  # fmt: skip
# what says something of the images that the engine does not use, and what that is
UNUSED = {
    "mask_path": "masks",
    "mask_color": "masks",
    "depth_file_path": "depths",
    "normal_file_path": "normals",
    "time": "times",
    "timestamp": "times",
    "exposure": "exposures",
    "white_transparent": "colours that count as transparent",
    "black_transparent": "colours that count as transparent",
    "fix_premult": "corrections of alpha",
    "train_filenames": "lists of splits",
    "val_filenames": "lists of splits",
    "test_filenames": "lists of splits",
}
# what would make the rays wrong if it were not looked at, and what to do instead; a zero or false is nothing to refuse
REFUSED = {
    "rolling_shutter": "a rolling shutter is not modelled; use images of a global shutter",
    "enable_ray_loading": "rays from files are not read; state a lens",
    **dict.fromkeys(
        ("ftheta_p0", "ftheta_p1", "ftheta_p2", "ftheta_p3", "ftheta_p4"), "F-theta lenses are not known; undistort"
    ),
    **dict.fromkeys(("latlong", "equirectangular"), "panoramas are not known; cut them into images of a pinhole"),
    **dict.fromkeys(
        ("fx", "fy", "focal", "focal_length", "focal_x", "focal_y", "fov", "fovx", "fovy", "K", "intrinsics",
         "intrinsic_matrix", "camera_matrix"),
        "focal lengths are `fl_x`, `fl_y` and the centre `cx`, `cy`, in pixels; rename it",
    ),
    **dict.fromkeys(
        ("distortion", "distortion_params", "distortion_coefficients", "dist_coeffs"),
        "distortion is `k1` to `k6`, `p1`, `p2`; rename it",
    ),
    **dict.fromkeys(("width", "height", "image_width", "image_height"), "the size is `w`, `h` in pixels; rename it"),
}  # fmt: skip


@dataclass(frozen=True)
class Frame:
    """An image and its camera: pose (3, 4) camera-to-world in OpenGL axes; `file_path` as it is written, or empty."""

    place: Place
    file_path: str
    pose: NDArray[np.float32]
    lens: Lens


@dataclass(frozen=True)
class Transforms:
    """What a file of poses holds; `notes` are for the user."""

    path: Path
    frames: tuple[Frame, ...]
    notes: tuple[Note, ...]


def read_transforms(path: Path) -> Transforms:
    """The frames of a file, each with a lens and a file_path. Raises DataError for what cannot be used."""
    transforms = transforms_of(read_json(path), path)
    for frame in transforms.frames:
        if not frame.file_path:
            raise DataError(path, f"{frame.place.name} has no `file_path`, the name of its image")
    return transforms


def transforms_of(found: Any, path: Path) -> Transforms:
    """The frames of what a file of JSON holds; a camera path need not name images."""
    if not isinstance(found, dict) or "frames" not in found:
        raise DataError(path, "holds no `frames`, a list of objects with `file_path` and `transform_matrix`")
    frames, whole = found["frames"], Place(path)
    if not isinstance(frames, list) or not frames:
        raise DataError(path, f"holds no `frames`: expected a list with at least one, found {shown(frames)}")
    top = {key: value for key, value in found.items() if key != "frames"}
    notes = [*_checked_keys(top, lenses.KEYS, whole)]
    read_lens(top, {}, whole, whole)  # what is wrong at the top is said of the top
    result: list[Frame] = []
    for i, frame in enumerate(frames):
        place = Place(path, f"frame {i}")
        if not isinstance(frame, dict):
            raise DataError(path, f"{place.name} has no `file_path`: it is no object but {shown(frame)}")
        result.append(_frame(frame, top, whole, place))
        notes += _checked_keys(frame, (*OF_FRAMES, *lenses.KEYS), place)
    return Transforms(path, tuple(result), tuple(notes))


def _frame(frame: Mapping[str, Any], top: Mapping[str, Any], whole: Place, place: Place) -> Frame:
    name = frame.get("file_path", "")
    if not isinstance(name, str):
        raise DataError(place.path, f"{place.name} has no `file_path` that is a text, found {shown(name)}")
    if name and "transform_matrix" not in frame:
        raise place.wrong(f'`transform_matrix` is missing, the pose of "{name}"')
    if "transform_matrix" not in frame:
        raise DataError(place.path, f"{place.name} has no `file_path` and no `transform_matrix`")
    pose = read_pose(frame["transform_matrix"], place)
    return Frame(place, name, pose, read_lens(top, frame, whole, place))


def _checked_keys(found: Mapping[str, Any], used: tuple[str, ...], place: Place) -> Iterator[Note]:
    """Notes on keys that are not used. Raises DataError for those that must not be passed over."""
    for key, value in found.items():
        if key in used:
            continue
        where = not_finite(value, key)
        if where:
            raise place.wrong(f"`{where}` is no finite number")
        if key in REFUSED and _says_something(value):
            raise place.wrong(f"`{key}` is {shown(value)}: {REFUSED[key]}")
        if key in UNUSED and _says_something(value):
            yield Note(f"unused {UNUSED[key]}", place.name, f"`{key}` is not used; the engine reads no {UNUSED[key]}")
    unknown = [key for key in found if not any(key in known for known in (used, HARMLESS, UNUSED, REFUSED))]
    if unknown:
        near = did_you_mean(unknown[0], used)
        names = ", ".join(f"`{legible(key)}`" for key in unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        yield Note("unknown", place.name, f"keys that are not known are not used: {names}{near and '.'}{near}")


def _says_something(value: Any) -> bool:
    """Whether a value differs from what programs write where they mean nothing: false, zeros, nothing."""
    if isinstance(value, list):
        return any(_says_something(part) for part in value)
    return bool(value)
