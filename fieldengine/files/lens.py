"""The lens that a file of poses states: focal lengths, centre and distortion, checked against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fieldengine.errors import did_you_mean
from fieldengine.files.notes import Note
from fieldengine.files.strict_json import Place, number, shown

FOCAL = ("camera_angle_x", "fl_x", "x_fov", "camera_angle_y", "fl_y", "y_fov")
SIZE = ("w", "h")
CENTRE = ("cx", "cy")
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
KEYS = (*FOCAL, *SIZE, *CENTRE, *DISTORTION, "camera_model", "is_fisheye")

# COLMAP's names: the engine's model, and the distortion each may have
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": ("pinhole", ()),
    "PINHOLE": ("pinhole", ()),
    "SIMPLE_RADIAL": ("opencv", ("k1",)),
    "RADIAL": ("opencv", ("k1", "k2")),
    "OPENCV": ("opencv", ("k1", "k2", "k3", "p1", "p2")),
    "FULL_OPENCV": ("opencv", DISTORTION),
    "SIMPLE_RADIAL_FISHEYE": ("opencv_fisheye", ("k1",)),
    "RADIAL_FISHEYE": ("opencv_fisheye", ("k1", "k2")),
    "OPENCV_FISHEYE": ("opencv_fisheye", ("k1", "k2", "k3", "k4")),
}
PARAMETERS = {
    "pinhole": (),
    "opencv": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "opencv_fisheye": ("k1", "k2", "k3", "k4"),
}
WIDEST, NARROWEST = 1e-3, 1e5  # focal lengths in sides of the image
AGREE = 0.01  # relative difference of two focal lengths that mean the same


@dataclass(frozen=True)
class Intrinsics:
    """A lens in pixels of an image of `width` x `height`; `parameters` in the order of the camera model `model`."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: str
    parameters: tuple[float, ...]
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Lens:
    """What a file says of a lens.

    Attributes:
        place: where it says so.
        numbers: of the keys above, those that are there.
        model: `pinhole`, `opencv` or `opencv_fisheye`.
        shared: keys of lengths and angles that are stated once for the whole file.
    """

    place: Place
    numbers: Mapping[str, float]
    model: str
    shared: frozenset[str] = frozenset()

    @property
    def is_stated(self) -> bool:
        """Whether the file says anything of it."""
        return bool(self.numbers)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels, where the file says both."""
        return (int(self.numbers["w"]), int(self.numbers["h"])) if {"w", "h"} <= self.numbers.keys() else None

    def on(self, width: int, height: int) -> Intrinsics:
        """The lens for an image of this size.

        Raises DataError where the file says no focal length, several that differ, or a size of other proportions.
        """
        x, y, notes = self._scale(width, height)
        w, h = width / x, height / y
        fx, fy, warned = _focal(self, w, h)
        cx, cy = self.numbers.get("cx", 0.5 * w), self.numbers.get("cy", 0.5 * h)
        _check_units(self, w, h)
        if not (0 <= cx <= w and 0 <= cy <= h):
            text = f"cx {cx:g}, cy {cy:g} lies outside the image of {w:g}x{h:g} pixels"
            warned = [*warned, Note("centre", self.place.name, text)]
        parameters = tuple(self.numbers.get(key, 0.0) for key in PARAMETERS[self.model])
        return Intrinsics(width, height, fx * x, fy * y, cx * x, cy * y, self.model, parameters, (*notes, *warned))

    def _scale(self, width: int, height: int) -> tuple[float, float, list[Note]]:
        """Pixels of the image per pixel that the file means, in x and in y."""
        w, h = self.numbers.get("w"), self.numbers.get("h")
        if w is None and h is None:
            return 1.0, 1.0, []
        x = width / w if w else height / (h or height)
        y = height / h if h else x
        if x == y == 1.0:
            return x, y, []
        said = f"{shown_size(w)}x{shown_size(h)}"
        if not _is_one_factor(width, height, w or width / x, h or height / y):
            turned = ". It is turned by 90 degrees against its lens" if (width, height) == (h, w) else ""
            raise self.place.wrong(
                f"`w`, `h` say {said} pixels, the image has {width}x{height}: no one factor scales the lens{turned}"
            )
        text = f"w, h say {said} pixels, the image has {width}x{height}; the lens is scaled by {x:.6g}"
        return x, y, [Note("scaled", self.place.name, text)]


def read_lens(top: Mapping[str, Any], frame: Mapping[str, Any], whole: Place, place: Place) -> Lens:
    """The lens of a frame: what the frame says goes before what the file says at its top.

    Focal lengths and angles are one: a frame that has any of them has its own. Raises DataError for what is no number,
    out of range, or contradicts the camera model.
    """
    own = any(key in frame for key in FOCAL)
    found: dict[str, tuple[Any, Place]] = {
        key: (top[key], whole) for key in KEYS if key in top and not (own and key in FOCAL)
    }
    found |= {key: (frame[key], place) for key in KEYS if key in frame}
    numbers = {key: _checked(key, *found[key]) for key in (*FOCAL, *SIZE, *CENTRE, *DISTORTION) if key in found}
    shared = frozenset(key for key in (*FOCAL, *CENTRE) if key in found and found[key][1] is whole)
    return Lens(place, numbers, _model(found, numbers, place), shared)


def shown_size(side: float | None) -> str:
    return "?" if side is None else f"{side:g}"


def _checked(key: str, value: Any, place: Place) -> float:
    if key.startswith("camera_angle") or key.endswith("_fov"):
        return _angle(key, value, place)
    found = number(value, key, place)
    if key in SIZE:
        return whole_pixels(key, value, place)
    if key in ("fl_x", "fl_y") and found <= 0:
        raise place.wrong(f"`{key}` must be above 0, in pixels, found {shown(value)}")
    return found


def whole_pixels(key: str, value: Any, place: Place) -> float:
    found = number(value, key, place)
    if found < 1 or found != int(found):
        raise place.wrong(f"`{key}` must be a whole number of pixels, found {shown(value)}")
    return found


def _angle(key: str, value: Any, place: Place) -> float:
    degrees = key.endswith("_fov")
    limit, unit = (180.0, "180 degrees") if degrees else (math.pi, "pi radians")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < limit:
        hint = f". In radians {value:g} degrees are {math.radians(value):.4g}" if is_number and 4 < value < 180 else ""
        raise place.wrong(f"`{key}` must lie between 0 and {unit}, found {shown(value)}{'' if degrees else hint}")
    return math.radians(value) if degrees else float(value)


def _model(found: Mapping[str, tuple[Any, Place]], numbers: Mapping[str, float], place: Place) -> str:
    bent = {key for key in DISTORTION if numbers.get(key, 0.0) != 0.0}
    name = _named(found)
    if name is None:
        name = "FULL_OPENCV" if bent & {"k5", "k6"} else "OPENCV"
    model, allowed = MODELS[name]
    refused = sorted(bent - set(allowed))
    if refused and name == "OPENCV" and refused == ["k4"]:
        raise place.wrong(
            f"`k4` is {numbers['k4']:g}: some programs mean r^8 by it, OpenCV its divisor. Say `camera_model` "
            f"FULL_OPENCV or OPENCV_FISHEYE, or undistort the images"
        )
    if refused:
        raise place.wrong(
            f"`camera_model` is {name}, which has no {', '.join(refused)}, but `{refused[0]}` is "
            f"{numbers[refused[0]]:g}. Correct one of them"
        )
    return model if bent or model == "opencv_fisheye" else "pinhole"


def _named(found: Mapping[str, tuple[Any, Place]]) -> str | None:
    """The camera model that a file names, None where it names none."""
    name = None
    if "camera_model" in found:
        value, place = found["camera_model"]
        name = value.upper() if isinstance(value, str) else ""
        if name not in MODELS:
            near = did_you_mean(name, MODELS)
            raise place.wrong(
                f"`camera_model` is {shown(value)}, which is not known. Models: {', '.join(MODELS)}.{near} "
                f"Undistort the images for another"
            )
    if "is_fisheye" in found:
        value, place = found["is_fisheye"]
        if not isinstance(value, bool):
            raise place.wrong(f"`is_fisheye` must be true or false, found {shown(value)}")
        if name is None:
            return "OPENCV_FISHEYE" if value else None
        if value != name.endswith("FISHEYE"):
            raise place.wrong(f"`is_fisheye` is {shown(value)}, but `camera_model` is {name}. Correct one of them")
    return name


def _focal(lens: Lens, w: float, h: float) -> tuple[float, float, list[Note]]:
    """Focal lengths in pixels of an image of w x h."""
    x, notes = _agreed(lens, "x", w)
    y, more = _agreed(lens, "y", h)
    fx, fy = x or y, y or x
    if fx is None or fy is None:
        raise lens.place.wrong(
            "has no focal length: `camera_angle_x` (radians) or `fl_x` (pixels) is needed, here or at the file's top"
        )
    for axis, focal, side in (("x", fx, w), ("y", fy, h)):
        if not WIDEST < focal / side < NARROWEST:
            raise lens.place.wrong(
                f"its focal length in {axis} is {focal:.4g} pixels in an image of {side:g}; that is no lens of pictures"
            )
    ratio = max(fx / fy, fy / fx)
    if ratio > 1.05:
        text = f"focal lengths of {fx:.5g} and {fy:.5g} pixels make pixels that are not square, by {ratio:.3g}"
        more = [*more, Note("not square", lens.place.name, text)]
    return fx, fy, [*notes, *more]


def _agreed(lens: Lens, axis: str, side: float) -> tuple[float | None, list[Note]]:
    """The focal length along an axis, which the file may state as an angle and in pixels; None where it does not."""
    pixels, fisheye = lens.numbers.get(f"fl_{axis}"), lens.model == "opencv_fisheye"
    angles = {key: lens.numbers[key] for key in (f"camera_angle_{axis}", f"{axis}_fov") if key in lens.numbers}
    if fisheye and angles and pixels is None:
        raise lens.place.wrong(f"a fisheye lens needs `fl_{axis}` in pixels; `{next(iter(angles))}` does not say it")
    stated = {key: 0.5 * side / math.tan(0.5 * angle) for key, angle in angles.items()}
    if pixels is not None:
        stated = {f"fl_{axis}": pixels, **stated}
    if not stated:
        return None, []
    (first, focal), *others = stated.items()
    for key, other in others:
        if abs(other / focal - 1.0) <= AGREE:
            continue
        said = f"{key} means a focal length of {other:.5g} pixels, {first} one of {focal:.5g}"
        if fisheye:  # the angle of a fisheye may be that of the whole image, bent as it is
            return focal, [Note("angle", lens.place.name, f"{said}; {first} is used, as the lens is a fisheye's")]
        raise lens.place.wrong(f"{said}, in an image of {side:g} pixels. Correct one of them, or say `w` and `h`")
    return focal, []


def _check_units(lens: Lens, w: float, h: float) -> None:
    """Refuse lengths that are shares of the image where pixels are meant."""
    for key, side in (("fl_x", w), ("cx", w), ("fl_y", h), ("cy", h)):
        value = lens.numbers.get(key)
        if value is not None and 0 < value <= 2 and side >= 16:
            raise lens.place.wrong(
                f"`{key}` is {value:g} in an image of {side:g} pixels; it must be in pixels, not a share of the side"
            )


def _is_one_factor(width: int, height: int, w: float, h: float) -> bool:
    """Whether an image of width x height is one of w x h scaled as a whole, but for rounding to whole pixels."""
    if (width == w) != (height == h):
        return False
    low, high = max((width - 1) / w, (height - 1) / h), min((width + 1) / w, (height + 1) / h)
    return low < high
