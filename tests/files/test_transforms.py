"""Files of poses: what they say of lens and pose is used or refused, with the frame and the key."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldengine.errors import DataError
from fieldengine.files.lens import Intrinsics
from fieldengine.files.notes import merged
from fieldengine.files.transforms import Transforms, read_transforms

POSE = [[1.0, 0, 0, 0], [0, 0, -1.0, -4], [0, 1.0, 0, 0], [0, 0, 0, 1]]
NAN, INF = math.nan, math.inf


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Transforms]:
    """Reads a file with these keys at its top and, in the second of its two frames, those of `frame`."""

    def write(frame: dict[str, Any] | None = None, **top: Any) -> Transforms:
        frames = [{"file_path": f"r_{i}.png", "transform_matrix": POSE} for i in range(2)]
        frames[1] |= frame or {}
        path = tmp_path / "transforms_train.json"
        path.write_text(json.dumps({"camera_angle_x": 0.7, "frames": frames} | top), encoding="utf-8")
        return read_transforms(path)

    return write


def lens(found: Transforms, width: int = 40, height: int = 30, frame: int = 0) -> Intrinsics:
    return found.frames[frame].lens.on(width, height)


def pixels(angle: float, side: float) -> float:
    return 0.5 * side / math.tan(0.5 * angle)


# ---------------------------------------------------------------------------------------------------------- the lens


def test_an_angle_is_that_of_the_width_and_pixels_are_square(read):
    found = lens(read())
    assert (found.fx, found.fy) == (pixels(0.7, 40), pixels(0.7, 40))
    assert (found.cx, found.cy, found.model, found.parameters) == (20, 15, "pinhole", ())


def test_both_angles_are_used(read):
    found = lens(read(camera_angle_y=0.9))
    assert (found.fx, found.fy) == (pixels(0.7, 40), pixels(0.9, 30))


@pytest.mark.parametrize(
    ("keys", "focal"),
    [
        ({"camera_angle_y": 0.9}, pixels(0.9, 30)),
        ({"fl_x": 50}, 50),
        ({"fl_y": 60.5}, 60.5),
        ({"x_fov": 90}, 20),
        ({"y_fov": 90}, 15),
    ],
)
def test_one_focal_length_serves_both_axes(read, keys: dict[str, float], focal: float):
    found = read()
    numbers = {key: math.radians(value) if key.endswith("fov") else value for key, value in keys.items()}
    found = type(found.frames[0].lens)(found.frames[0].place, numbers, "pinhole").on(40, 30)
    assert found.fx == found.fy == pytest.approx(focal)


def test_the_centre_and_the_focal_lengths_are_pixels_of_the_image(read):
    found = lens(read(fl_x=pixels(0.7, 40), fl_y=44.0, cx=12.0, cy=16.5))
    assert (found.fx, found.fy, found.cx, found.cy) == (pixels(0.7, 40), 44.0, 12.0, 16.5)


def test_a_frame_goes_before_the_top_and_its_focal_length_is_its_own(read):
    found = read({"camera_angle_x": 0.3}, fl_y=54.0, cx=11.0)
    assert lens(found).fy == 54.0
    one = lens(found, frame=1)
    assert one.fx == one.fy == pixels(0.3, 40), "what the top says in pixels is not mixed with the frame's angle"
    assert one.cx == 11.0


@pytest.mark.parametrize(("size", "factor"), [((20, 15), 0.5), ((80, 60), 2.0), ((13, 10), 1 / 3)])
def test_a_lens_of_another_size_is_scaled_with_the_image_and_says_so(read, size: tuple[int, int], factor: float):
    found = lens(read(fl_x=pixels(0.7, 40), fl_y=54.0, cx=12.0, cy=16.0, w=40, h=30), *size)
    x, y = size[0] / 40, size[1] / 30
    assert (found.fx, found.fy) == (pytest.approx(pixels(0.7, 40) * x), pytest.approx(54 * y))
    assert (found.cx, found.cy) == (pytest.approx(12 * x), pytest.approx(16 * y))
    assert x == pytest.approx(factor, rel=0.03)
    (sentence,) = merged(found.notes)
    assert "w, h say 40x30" in sentence
    assert f"{size[0]}x{size[1]}" in sentence


def test_a_lens_of_the_images_size_says_nothing(read):
    assert lens(read(w=40, h=30)).notes == ()


@pytest.mark.parametrize("size", [(40, 20), (30, 40), (40, 31), (44, 30), (20, 20)])
def test_a_lens_of_another_shape_is_refused_with_both_sizes(read, size: tuple[int, int]):
    found = read(w=40, h=30)
    with pytest.raises(DataError, match=rf"frame 0: `w`, `h` say 40x30 pixels, the image has {size[0]}x{size[1]}"):
        lens(found, *size)


def test_a_turned_image_is_said_to_be_turned(read):
    with pytest.raises(DataError, match="turned by 90 degrees"):
        lens(read(w=40, h=30), 30, 40)


@pytest.mark.parametrize(
    ("keys", "model", "parameters"),
    [
        ({"k1": -0.1}, "opencv", (-0.1, 0, 0, 0, 0, 0, 0, 0)),
        ({"k1": 0.1, "k2": 0.2, "k3": 0.3, "p1": 0.01, "p2": 0.02}, "opencv", (0.1, 0.2, 0.01, 0.02, 0.3, 0, 0, 0)),
        ({"k4": 0.4, "camera_model": "FULL_OPENCV"}, "opencv", (0, 0, 0, 0, 0, 0.4, 0, 0)),
        ({"k1": 0.1, "camera_model": "simple_radial"}, "opencv", (0.1, 0, 0, 0, 0, 0, 0, 0)),
        ({"k1": 0.1, "camera_model": "OPENCV_FISHEYE", "fl_x": 30}, "opencv_fisheye", (0.1, 0, 0, 0)),
        ({"k4": 0.1, "is_fisheye": True, "fl_x": 30}, "opencv_fisheye", (0, 0, 0, 0.1)),
        ({"is_fisheye": True, "fl_x": 30}, "opencv_fisheye", (0, 0, 0, 0)),
        ({"is_fisheye": False}, "pinhole", ()),
        ({"k1": 0.0, "camera_model": "PINHOLE"}, "pinhole", ()),
        ({"k1": 0, "k2": 0, "camera_model": "OPENCV"}, "pinhole", ()),
    ],
)
def test_distortion_becomes_the_camera_model_that_has_it(read, keys: dict[str, Any], model: str, parameters: tuple):
    top = keys if "fl_x" not in keys else {**keys, "camera_angle_x": 2 * math.atan(20 / 30)}
    found = lens(read(**top))
    assert (found.model, found.parameters) == (model, parameters)


LENSES: dict[str, tuple[dict[str, Any], str]] = {
    "angle and pixels": ({"fl_x": 80}, "camera_angle_x means a focal length of 54.79 pixels, fl_x one of 80"),
    "degrees": ({"camera_angle_x": 40}, "between 0 and pi radians, found 40. In radians 40 degrees are 0.698"),
    "an angle of 0": ({"camera_angle_y": 0}, "`camera_angle_y` must lie between 0 and pi"),
    "a focal length of 0": ({"fl_x": 0}, "`fl_x` must be above 0"),
    "a negative one": ({"fl_y": -3.5}, "`fl_y` must be above 0, in pixels, found -3.5"),
    "a text": ({"fl_x": "500"}, '`fl_x` must be a number, found "500", a text: write it without quotes'),
    "a list": ({"k1": [0.1]}, "`k1` must be a number, found [0.1]"),
    "true": ({"cx": True}, "`cx` must be a number, found true"),
    "null": ({"cy": None}, "`cy` must be a number, found null"),
    "NaN": ({"cy": NAN}, "`cy` must be a finite number, found NaN"),
    "Infinity": ({"k1": INF}, "`k1` must be a finite number, found Infinity"),
    "a lens of no width": ({"camera_angle_x": 1e-9}, "its focal length in x is 4e+10 pixels in an image of 40"),
    "half a pixel": ({"w": 40.5, "h": 30}, "`w` must be a whole number of pixels"),
    "no pixel": ({"w": 0}, "`w` must be a whole number of pixels"),
    "a share for a centre": ({"cx": 0.5, "cy": 0.5}, "`cx` is 0.5 in an image of 40 pixels; it must be in pixels"),
    "distortion of a pinhole": ({"k1": 0.1, "camera_model": "PINHOLE"}, "PINHOLE, which has no k1, but `k1` is 0.1"),
    "k4 of OpenCV": ({"k4": 0.1}, "`k4` is 0.1: some programs mean r^8"),
    "fisheye and not": ({"is_fisheye": True, "camera_model": "OPENCV"}, "`is_fisheye` is true, but `camera_model`"),
    "p1 of a fisheye": ({"is_fisheye": True, "p1": 0.1}, "OPENCV_FISHEYE, which has no p1"),
    "an angle of a fisheye": ({"is_fisheye": True}, "a fisheye lens needs `fl_x` in pixels"),
    "fisheye as a number": ({"is_fisheye": 1}, "`is_fisheye` must be true or false, found 1"),
    "a model of others": ({"camera_model": "EQUIRECTANGULAR"}, "which is not known. Models: SIMPLE_PINHOLE, PINHOLE"),
    "a model mistyped": ({"camera_model": "OPENCVV"}, 'Did you mean "OPENCV"?'),
}


@pytest.mark.parametrize("name", LENSES)
@pytest.mark.parametrize("where", ["top", "frame"])
def test_a_lens_that_contradicts_itself_is_refused_with_its_figures(read, name: str, where: str):
    keys, message = LENSES[name]
    frame, top = ({"camera_angle_x": 0.7} | keys, {}) if where == "frame" else ({}, keys)
    with pytest.raises(DataError) as caught:
        lens(read(frame, **top), frame=1)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(caught.value.path) + ": ")
    assert where == "top" or ": frame 1: " in str(caught.value)


def test_a_lens_without_a_focal_length_says_what_is_needed(read, tmp_path: Path):
    path = tmp_path / "transforms_train.json"
    path.write_text(json.dumps({"frames": [{"file_path": "a", "transform_matrix": POSE}]}), encoding="utf-8")
    with pytest.raises(DataError, match="frame 0: has no focal length: `camera_angle_x`"):
        lens(read_transforms(path))


def test_oblong_pixels_and_a_centre_outside_are_said(read):
    found = lens(read(fl_x=pixels(0.7, 40), fl_y=80.0, cx=-5.0))
    sentences = merged(found.notes)
    assert any("pixels that are not square, by 1.46" in text for text in sentences)
    assert any("cx -5, cy 15 lies outside the image" in text for text in sentences)


# ---------------------------------------------------------------------------------------------------------- the keys


def test_what_other_programs_keep_for_themselves_is_passed_over(read):
    top = {"aabb_scale": 16, "scale": 0.3, "offset": [0.5, 0.5, 0.5], "applied_transform": POSE[:3], "k1": 0.0}
    assert merged(read({"sharpness": 31.5, "colmap_im_id": 3, "rotation": 0.01}, **top).notes) == ()


def test_what_is_not_used_is_said_once(read):
    (unused, unknown) = merged(read({"mask_path": "m.png", "wether": 1, "colour": 2}, mask_color=[1, 0, 0]).notes)
    assert unused == "`mask_color` is not used; the engine reads no masks"
    assert "`wether`, `colour`" in unknown
    assert "frame 1" in unknown


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"rolling_shutter": [0.1, 0, 0, 0]}, "a rolling shutter is not modelled"),
        ({"fx": 500}, "focal lengths are `fl_x`, `fl_y`"),
        ({"intrinsics": [[1, 0, 0]]}, "rename it"),
        ({"distortion_params": [0.1, 0]}, "distortion is `k1` to `k6`"),
        ({"ftheta_p1": 0.5}, "F-theta lenses are not known"),
        ({"width": 40}, "the size is `w`, `h`"),
        ({"aabb": [[0, NAN, 0]]}, "`aabb[0][1]` is no finite number"),
    ],
)
def test_what_would_make_rays_wrong_is_refused(read, keys: dict[str, Any], message: str):
    for found in (lambda: read(**keys), lambda: read(keys)):
        with pytest.raises(DataError) as caught:
            found()
        assert message in str(caught.value)


def test_a_rolling_shutter_of_no_time_is_none(read):
    assert read(rolling_shutter=[0, 0, 0, 0]).frames


# ---------------------------------------------------------------------------------------------------------- the pose


def turned(matrix: list[list[float]]) -> list[list[float]]:
    return np.array(matrix).T.tolist()


def changed(row: int, column: int, value: Any) -> list[list[Any]]:
    matrix: list[list[Any]] = [list(line) for line in POSE]
    matrix[row][column] = value
    return matrix


def times(*factors: float) -> list[list[float]]:
    return (np.array(POSE) @ np.diag([*factors, 1.0])).tolist()


MATRICES: dict[str, tuple[Any, str]] = {
    "transposed": (turned(POSE), "its last row is not 0 0 0 1 but 0 -4 0 1. The matrix looks transposed"),
    "another last row": (changed(3, 3, 2), "its last row is not 0 0 0 1 but 0 0 0 2"),
    "NaN": (changed(1, 3, NAN), "must be a finite 4x4 matrix; row 2, column 4 is NaN"),
    "Infinity": (changed(0, 3, -INF), "row 1, column 4 is -Infinity"),
    "beyond float32": (changed(0, 3, 1e39), "row 1, column 4 is 1e+39"),
    "endless": (changed(0, 3, 10**400), "row 1, column 4 is 1000"),
    "a text": (changed(2, 1, "1.0"), 'row 3, column 2 is "1.0"'),
    "true": (changed(2, 1, True), "row 3, column 2 is true"),
    "null": (changed(2, 1, None), "row 3, column 2 is null"),
    "mirrored": (times(-1, 1, 1), "are not a rotation (mirrored)"),
    "doubled": (times(2, 2, 2), "(scaled or sheared): all are 2 long. Divide them by 2"),
    "tiny": (times(1e-4, 1e-4, 1e-4), "all are 0.0001 long"),
    "stretched": (times(1, 1.2, 1), "are not a rotation (scaled or sheared)"),
    "flat": (times(1, 0, 1), "is singular"),
    "sixteen numbers": ([value for row in POSE for value in row], "is not a 4x4 matrix of numbers"),
    "3x3": ([row[:3] for row in POSE[:3]], "found shape (3, 3)"),
    "empty": ([], "found shape (0, 0)"),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_that_is_no_pose_is_refused_with_what_it_looks_like(read, name: str):
    matrix, message = MATRICES[name]
    with pytest.raises(DataError) as caught:
        read({"transform_matrix": matrix})
    assert "frame 1: " in str(caught.value)
    assert message in str(caught.value)


def test_three_rows_are_a_pose_and_few_digits_are_enough(read):
    rounded = np.round(np.array(POSE) @ np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), 2)
    found = read({"transform_matrix": rounded[:3].tolist()}).frames[1].pose
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found, rounded[:3])


# ---------------------------------------------------------------------------------------------------------- the JSON


def whole(**top: Any) -> str:
    frames = [{"file_path": "r_0.png", "transform_matrix": POSE}]
    return json.dumps({"camera_angle_x": 0.7, "frames": frames} | top)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path):
    path = tmp_path / "t.json"
    path.write_text(whole(), encoding="utf-8-sig")
    assert len(read_transforms(path).frames) == 1


JSONS: dict[str, tuple[bytes, str]] = {
    **{
        coding: (whole().encode(coding), f"it is {coding.upper()[:6]} text. Save it as UTF-8")
        for coding in ("utf-16", "utf-32")
    },
    "utf-16 without a mark": (whole().encode("utf-16-le"), "it is UTF-16 or UTF-32 text. Save it as UTF-8"),
    "Latin-1": ('{"é": 1}'.encode("latin-1"), "cannot be read as JSON"),
    "a key twice": (whole().replace('"file_path"', '"file_path": "b.png", "file_path"').encode(), "`file_path` twice"),
    "deep enough": (whole(aabb=json.loads("[" * 300 + "]" * 300)).encode(), "nested too deeply"),
    "deep": (b'{"frames":' + b"[" * 100_000, "nested too deeply"),
    "frames as an object": (whole(frames={"0": {}}).encode(), "holds no `frames`: expected a list"),
    "no frame": (whole(frames=[]).encode(), "holds no `frames`: expected a list with at least one, found []"),
    "a frame without a name": (whole(frames=[{"transform_matrix": POSE}]).encode(), "frame 0 has no `file_path`"),
    "a frame without a pose": (whole(frames=[{"file_path": "a"}]).encode(), "frame 0: `transform_matrix` is missing"),
    "cut short": (whole().encode()[:-5], "cannot be read as JSON"),
}


@pytest.mark.parametrize("name", JSONS)
def test_what_is_no_plain_json_is_refused_in_one_sentence(tmp_path: Path, name: str):
    raw, message = JSONS[name]
    path = tmp_path / "t.json"
    path.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        read_transforms(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
