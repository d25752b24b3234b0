"""Files of camera paths: the same poses in every form, with the lens that the file states, or refused in words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fieldengine.cameras.camera import Camera
from fieldengine.cameras.from_file import along
from fieldengine.cameras.paths import look_at
from fieldengine.errors import DataError
from fieldengine.files.camera_path import read_camera_path

CAMERA = Camera(pose=(), height=30, width=40, fx=50.0, fy=50.0, cx=20.0, cy=15.0)
ANGLE = 2 * math.atan(20 / 50)  # of the width of CAMERA


def matrices(n: int = 3) -> list[list[list[float]]]:
    eyes = torch.tensor([[3.0, 1.0, 1.0], [0.0, 4.0, 2.0], [-2.0, 1.0, 5.0]])[:n]
    poses = [look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])).tolist() for eye in eyes]
    return [[*pose, [0.0, 0.0, 0.0, 1.0]] for pose in poses]


def frames(**top: Any) -> dict[str, Any]:
    return {**top, "frames": [{"transform_matrix": matrix} for matrix in matrices()]}


def nerfstudio(fov: float = 60.0, **top: Any) -> dict[str, Any]:
    cameras = [
        {"camera_to_world": [value for row in matrix for value in row], "fov": fov, "aspect": 1}
        for matrix in matrices()
    ]
    return {"camera_type": "perspective", "camera_path": cameras, "fps": 24, "seconds": 3, **top}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "flight.json"


def cameras(file: Path, content: Any) -> list[Camera]:
    file.write_text(json.dumps(content), encoding="utf-8")
    return along(read_camera_path(file), CAMERA)[0]


@pytest.mark.parametrize(
    "content",
    [matrices(), frames(), nerfstudio(render_width=40, render_height=30)],
    ids=["list", "frames", "nerfstudio"],
)
def test_every_form_has_the_same_poses(file: Path, content: Any):
    found = np.array([camera.pose for camera in cameras(file, content)])
    np.testing.assert_allclose(found, np.array(matrices())[:, :3], atol=1e-6)


def test_a_file_without_a_lens_takes_that_of_the_data(file: Path):
    assert {(one.fx, one.cx, one.shape) for one in cameras(file, frames())} == {(50.0, 20.0, (30, 40))}


def test_the_lens_of_a_file_is_used(file: Path):
    assert cameras(file, frames(camera_angle_x=0.1))[0].fx == pytest.approx(20 / math.tan(0.05))
    found = cameras(file, frames(fl_x=100.0, cx=10.0, k1=0.1))[0]
    assert (found.fx, found.fy, found.cx, found.cy, found.name) == (100.0, 100.0, 10.0, 15.0, "opencv")


def test_a_lens_may_change_from_frame_to_frame(file: Path):
    content = frames(camera_angle_x=ANGLE)
    content["frames"][1]["camera_angle_x"] = 0.3
    assert [one.fx for one in cameras(file, content)] == pytest.approx([50, 20 / math.tan(0.15), 50])


def test_a_lens_of_another_size_is_rendered_in_that_size(file: Path):
    found = cameras(file, frames(camera_angle_x=0.5, w=64, h=16))[0]
    assert (found.width, found.height, found.fx) == (64, 16, pytest.approx(32 / math.tan(0.25)))


def test_frames_of_several_sizes_are_no_video(file: Path):
    content = frames(camera_angle_x=0.5, w=64, h=16)
    content["frames"][2] |= {"w": 32}
    with pytest.raises(DataError, match="several sizes, 32x16, 64x16"):
        cameras(file, content)


def test_the_angle_of_nerfstudio_is_that_of_the_height(file: Path):
    found = cameras(file, nerfstudio(fov=90.0, render_width=64, render_height=20))[0]
    assert (found.width, found.height) == (64, 20)
    assert found.fx == found.fy == pytest.approx(10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nerfstudio(camera_type="equirectangular"), '`camera_type` is "equirectangular"; only perspective'),
        (nerfstudio(fov=180), "camera 0: `fov` must lie between 0 and 180 degrees"),
        (nerfstudio(fov=math.nan), "camera 0: `fov` must be a finite number"),
        (nerfstudio(render_width=0, render_height=4), "`render_width` must be a whole number of pixels"),
        ({"camera_path": []}, "`camera_path` must be a list with at least one camera"),
        ({"camera_path": [{"fov": 50}]}, "camera 0: `camera_to_world` is not a 4x4 matrix"),
        ({"camera_path": ["x"]}, "camera 0: must be an object"),
        (frames(camera_angle_x=-1), "`camera_angle_x` must lie between 0 and pi"),
        (frames(fl_x=10.0, camera_angle_x=0.1), "means a focal length of 399.67 pixels, fl_x one of 10"),
        (frames(cx=3.0), "has no focal length"),
        (frames(fl_x=30.0, k1=-30.0), "frame 0: its distortion (-30, 0, 0, 0, 0, 0, 0, 0) folds the image over"),
    ],
)
def test_what_cannot_be_rendered_is_refused(file: Path, content: Any, message: str):
    with pytest.raises(DataError) as caught:
        cameras(file, content)
    assert message in str(caught.value)


FAULTS = {
    "mirrored": np.diag([-1.0, 1, 1, 1]),
    "sheared": np.array([[1.0, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "scaled": np.diag([2.0, 2, 2, 1]),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", ["list", "frames"])
def test_a_pose_that_is_none_is_refused_as_in_a_data_set(file: Path, form: str, fault: str):
    poses = matrices()
    poses[1] = (np.array(poses[1]) @ FAULTS[fault]).tolist()
    content = poses if form == "list" else {"frames": [{"transform_matrix": matrix} for matrix in poses]}
    with pytest.raises(DataError, match=r"frame 1: .*are not a rotation"):
        cameras(file, content)


def test_what_is_odd_about_a_lens_is_said_once(file: Path):
    file.write_text(json.dumps(frames(fl_x=50.0, fl_y=25.0)), encoding="utf-8")
    (sentence,) = along(read_camera_path(file), CAMERA)[1]
    assert "frame 0 and 2 others: focal lengths of 50 and 25 pixels" in sentence


def test_keys_that_are_not_known_are_said(file: Path):
    file.write_text(json.dumps(frames(camera_angel_x=0.1)), encoding="utf-8")
    (sentence,) = read_camera_path(file).notes
    assert sentence == 'keys that are not known are not used: `camera_angel_x`. Did you mean "camera_angle_x"?'


ROW = "[1, 0, 0, 0]"


NO_POSES = [
    "",
    "{",
    "null",
    "5",
    '"orbit"',
    "[]",
    "{}",
    "[null]",
    "[1, 2, 3]",
    '{"frames": []}',
    '{"frames": null}',
    '{"frames": 3}',
    '{"frames": "ab"}',
    '{"frames": [1]}',
    '{"frames": [{}]}',
    '{"frames": [{"transform_matrix": [[1, 2], [3]]}]}',
    f"[[{ROW}, {ROW}]]",
    f"[[{ROW}, {ROW}, [0, 0, 0]]]",
    f"[[{ROW}, {ROW}, [0, 0, 0, NaN]]]",
    f"[[{ROW}, {ROW}, [0, 0, 0, 1e39]]]",
    f"[[{ROW}, {ROW}, [0, 0, 0, 1{'0' * 400}]]]",
    f'[[{ROW}, {ROW}, [0, 0, 0, "a"]]]',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", NO_POSES, ids=lambda text: text[:50])
def test_a_file_without_poses_is_refused_by_name(tmp_path: Path, text: str):
    path = tmp_path / "poses.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"poses\.json") as caught:
        read_camera_path(path)
    assert caught.value.path == path


def test_a_missing_file_says_what_a_path_may_be(tmp_path: Path):
    with pytest.raises(DataError, match=r"orbit.*spiral.*JSON"):
        read_camera_path(tmp_path / "orbitt")


def test_bytes_that_are_no_text_and_a_folder_are_refused(tmp_path: Path):
    path = tmp_path / "poses.json"
    path.write_bytes(b"\xff\xfe\x00\x80")
    for place in (path, tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_camera_path(place)
