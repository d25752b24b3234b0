"""Posed images and camera paths in every spelling: rays are held against formulas in numpy, pixels against arrays."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from odd.case import Case
from PIL import Image

from fieldengine.cameras.camera import Camera
from fieldengine.cameras.from_file import along
from fieldengine.datasets.blender import Blender
from fieldengine.errors import DataError
from fieldengine.files.camera_path import read_camera_path
from fieldengine.types import RunContext

Array = NDArray[Any]
WIDTH, HEIGHT = 24, 18
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Lens:
    """The truth in pixels of the stored image; `bend` holds k1 to k6, p1, p2."""

    fx: float = 30.0
    fy: float = 30.0
    cx: float = WIDTH / 2
    cy: float = HEIGHT / 2
    bend: dict[str, float] = field(default_factory=dict)
    fisheye: bool = False

    def places(self, local: Array) -> Array:
        """Where directions (n, 3) in OpenCV's axes appear, (n, 2) in pixels, by OpenCV's published formulas."""
        k = {key: self.bend.get(key, 0.0) for key in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")}
        u, v = local[:, 0] / local[:, 2], local[:, 1] / local[:, 2]
        r = np.hypot(u, v)
        if self.fisheye:
            t = np.arctan(r)
            bent = t * (1 + k["k1"] * t**2 + k["k2"] * t**4 + k["k3"] * t**6 + k["k4"] * t**8)
            scale = np.where(r > 1e-12, bent / np.maximum(r, 1e-12), 1.0)
            x, y = u * scale, v * scale
        else:
            top = 1 + k["k1"] * r**2 + k["k2"] * r**4 + k["k3"] * r**6
            scale = top / (1 + k["k4"] * r**2 + k["k5"] * r**4 + k["k6"] * r**6)
            x = u * scale + 2 * k["p1"] * u * v + k["p2"] * (r**2 + 2 * u**2)
            y = v * scale + k["p1"] * (r**2 + 2 * v**2) + 2 * k["p2"] * u * v
        return np.stack([self.fx * x + self.cx, self.fy * y + self.cy], axis=1)

    def over(self, factor: float) -> Lens:
        """The same for an image with 1 / factor as many pixels a side."""
        return replace(self, fx=self.fx / factor, fy=self.fy / factor, cx=self.cx / factor, cy=self.cy / factor)


@dataclass(frozen=True)
class Scene:
    """Two frames as they are written, and what is true of them.

    Attributes:
        top, frame: keys of the file, and of both of its frames.
        lens: the truth.
        name: of the images in the JSON, with {i}; `file` is where they are.
        pose: what becomes of the matrices before they are written.
        note: a part of a warning that must come.
        refused: a part of the refusal that must come; empty where the scene is read.
    """

    top: dict[str, Any] = field(default_factory=dict)
    frame: dict[str, Any] = field(default_factory=dict)
    lens: Lens = field(default_factory=Lens)
    size: tuple[int, int] = (WIDTH, HEIGHT)
    name: str = "r_{i}"
    file: str = "r_{i}.png"
    mode: str = "RGB"
    tag: int = 0
    pose: Callable[[Array], Any] = lambda matrix: matrix.tolist()
    encode: Callable[[str], bytes] = lambda text: text.encode()
    change: Callable[[Path], None] = lambda folder: None
    downscale: int = 1
    note: str = ""
    refused: str = ""


def pose(i: int) -> Array:
    """Camera i of a ring around the origin, camera-to-world, OpenGL axes."""
    angle = 0.4 + 2.1 * i
    back = np.array([math.cos(angle), math.sin(angle), 0.5])
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.column_stack([right, np.cross(back, right), back, 4 * back])
    return matrix


def picture(i: int, width: int, height: int, mode: str) -> Array:
    """Smooth, so that JPEG keeps it, and without symmetry, so that no turn goes unseen: (h, w, 4) in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width]
    u, v = (x + 0.5) / width, (y + 0.5) / height
    channels = [0.2 + 0.6 * u, 0.1 + 0.5 * v + 0.2 * i, 0.9 - 0.4 * u * v, 0.3 + 0.5 * v]
    image = np.stack(channels, axis=-1)
    if mode in ("L", "LA", "I;16"):
        image[..., :3] = image[..., :1]
    if mode not in ("LA", "RGBA"):
        image[..., 3] = 1
    return image


def write_picture(path: Path, image: Array, mode: str, tag: int) -> None:
    scale = 65535 if mode == "I;16" else 255
    whole = np.round(image * scale).astype(np.uint16 if mode == "I;16" else np.uint8)
    pick = {"L": whole[..., 0], "I;16": whole[..., 0], "LA": whole[..., [0, 3]], "RGBA": whole}.get(
        mode, whole[..., :3]
    )
    exif = Image.Exif()
    if tag:
        exif[0x0112] = tag
    options: dict[str, Any] = {"exif": exif} if tag else {}
    if path.suffix.lower() in (".jpg", ".jpeg"):
        options |= {"quality": 100, "subsampling": 0}
    if path.suffix.lower() == ".webp":
        options |= {"lossless": True}
    Image.fromarray(np.ascontiguousarray(pick)).save(path, **options)


def written(scene: Scene, folder: Path) -> Path:
    """The folder of a scene, laid down."""
    frames = []
    for i in range(2):
        place = folder / scene.file.format(i=i)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_picture(place, picture(i, *scene.size, scene.mode), scene.mode, scene.tag)
        name = scene.name.format(i=i, folder=folder.absolute())
        frames.append({"file_path": name, "transform_matrix": scene.pose(pose(i)), **scene.frame})
    text = json.dumps({**scene.top, "frames": frames})
    (folder / "transforms_train.json").write_bytes(scene.encode(text))
    scene.change(folder)
    return folder


def judge_scene(scene: Scene) -> Callable[[Path], str]:
    def judge(folder: Path) -> str:
        context = RunContext(torch.device("cpu"), torch.Generator(), 0)
        try:
            dataset = Blender(folder, downscale=scene.downscale, aabb=((-2, -2, -2), (2, 2, 2))).build(context=context)
        except DataError as reason:
            if scene.refused and scene.refused in str(reason):
                return f"refused: {str(reason).removeprefix(str(reason.path) + ': ')}"
            return f"WRONG: refused as {reason}"
        if scene.refused:
            return f"WRONG: read, though {scene.refused}"
        if scene.note and not any(scene.note in note for note in dataset.notes()):
            return f"WRONG: no note says {scene.note}, only {dataset.notes()}"
        for i, view in enumerate(dataset.views("train")):
            assert isinstance(view.grid, Camera)
            fault = of_rays(view.grid, scene.lens.over(scene.downscale), pose(i))
            fault = fault or of_pixels(scene, i, view.target.numpy(), view.grid)
            if fault:
                return f"WRONG: frame {i}: {fault}"
        return "right"

    return judge


def of_rays(camera: Camera, lens: Lens, truth: Array) -> str:
    """What is wrong with the rays of a camera; empty where they are right."""
    rays = camera.items(torch.arange(camera.height * camera.width))
    local = rays.viewdirs.double().numpy() @ truth[:3, :3] @ FLIP[:3, :3]
    row, column = np.mgrid[0 : camera.height, 0 : camera.width].reshape(2, -1)
    off = np.abs(lens.places(local) - np.stack([column + 0.5, row + 0.5], axis=1)).max()
    if not off < 5e-3:
        return f"rays are off by {off:.3g} pixels"
    if np.abs(rays.origins.numpy() - truth[:3, 3]).max() > 1e-4:
        return "rays start elsewhere"
    return ""


def of_pixels(scene: Scene, i: int, found: Array, camera: Camera) -> str:
    image = picture(i, *scene.size, scene.mode)
    seen = image[..., :3] * image[..., 3:] + 1 - image[..., 3:]
    n = scene.downscale
    if camera.shape != (scene.size[1] // n, scene.size[0] // n):
        return f"shape {camera.shape}"
    blocks = seen[: camera.height * n, : camera.width * n].reshape(camera.height, n, camera.width, n, 3)
    off = np.abs(found.reshape(camera.height, camera.width, 3) - blocks.mean(axis=(1, 3))).max()
    return "" if off < 0.02 else f"pixels are off by {off:.3g}"


# ---------------------------------------------------------------------------------------------------------- lenses


def angle(focal: float, side: float) -> float:
    return 2 * math.atan(0.5 * side / focal)


def statements() -> dict[str, tuple[dict[str, Any], Lens]]:
    """Ways to state a lens of the stored size, and what each means."""
    oblong = Lens(fx=30.0, fy=27.0)
    ax, ay = angle(30, WIDTH), angle(30, HEIGHT)
    return {
        "angle_x": ({"camera_angle_x": ax}, Lens()),
        "angle_y": ({"camera_angle_y": ay}, Lens()),
        "both_angles": ({"camera_angle_x": ax, "camera_angle_y": angle(27, HEIGHT)}, oblong),
        "degrees": ({"x_fov": math.degrees(ax)}, Lens()),
        "fl_x": ({"fl_x": 30}, Lens()),
        "fl_y": ({"fl_y": 30.0}, Lens()),
        "fl_both": ({"fl_x": 30, "fl_y": 27}, oblong),
        "angle_and_fl": ({"camera_angle_x": ax, "fl_x": 30.01, "fl_y": 30.01}, Lens()),
        "centre": ({"fl_x": 30, "cx": 9.5, "cy": 11.25}, Lens(cx=9.5, cy=11.25)),
        "centre_x": ({"camera_angle_x": ax, "cx": 9.5}, Lens(cx=9.5)),
        "size": ({"camera_angle_x": ax, "w": WIDTH, "h": HEIGHT}, Lens()),
    }


def of_size(keys: dict[str, Any], factor: float) -> dict[str, Any]:
    """The same lens stated for images with `factor` as many pixels a side."""
    scaled = {key: value * factor if key in ("fl_x", "fl_y", "cx", "cy") else value for key, value in keys.items()}
    return {**scaled, "w": int(WIDTH * factor), "h": int(HEIGHT * factor)}


def lens_scenes() -> Iterator[tuple[str, Scene]]:
    for (name, (keys, lens)), where in product(statements().items(), ("top", "frame")):
        yield f"lens_{name}_{where}", Scene(**{where: keys}, lens=lens)
        for factor in (2, 0.5):
            scene = Scene(**{where: of_size(keys, factor)}, lens=lens, note="the lens is scaled")
            yield f"lens_{name}_{where}_of_size_{factor:g}", scene
    for downscale, (name, (keys, lens)) in product((2, 5), statements().items()):
        yield f"lens_{name}_downscale_{downscale}", Scene(top=keys, lens=lens, downscale=downscale)
    ax = angle(30, WIDTH)
    yield "frame_before_top", Scene(top={"camera_angle_x": 1.0, "fl_y": 99}, frame={"camera_angle_x": ax})
    shapes = {"turned": (HEIGHT, WIDTH), "cropped": (WIDTH, HEIGHT + 2), "stretched": (2 * WIDTH, HEIGHT)}
    for name, (w, h) in shapes.items():
        yield f"size_{name}", Scene(top={"fl_x": 30, "w": w, "h": h}, refused="no one factor scales the lens")
    refusals: dict[str, tuple[dict[str, Any], str]] = {
        "contradiction": ({"camera_angle_x": ax, "fl_x": 40}, "means a focal length of 30 pixels, fl_x one of 40"),
        "contradiction_y": ({"camera_angle_y": 0.5, "fl_y": 40}, "camera_angle_y means"),
        "degrees_as_radians": ({"camera_angle_x": 43.6}, "43.6 degrees are 0.761"),
        "none": ({}, "has no focal length"),
        "zero": ({"fl_x": 0}, "`fl_x` must be above 0"),
        "negative": ({"fl_x": -30}, "`fl_x` must be above 0"),
        "text": ({"fl_x": "30"}, "a text: write it without quotes"),
        "true": ({"fl_x": True}, "must be a number, found true"),
        "null": ({"camera_angle_x": None}, "found null"),
        "nan": ({"fl_x": math.nan}, "must be a finite number"),
        "infinity": ({"fl_x": 30, "cx": math.inf}, "must be a finite number"),
        "share": ({"camera_angle_x": ax, "cx": 0.5}, "must be in pixels, not a share"),
        "fx": ({"camera_angle_x": ax, "fx": 30}, "rename it"),
        "K": ({"camera_angle_x": ax, "K": [[30, 0, 12]]}, "rename it"),
        "rolling_shutter": ({"fl_x": 30, "rolling_shutter": [0, 0, 0.1, 0]}, "a rolling shutter is not modelled"),
    }
    for (name, (keys, message)), where in product(refusals.items(), ("top", "frame")):
        yield f"lens_{name}_{where}", Scene(**{where: keys}, refused=message)
    notes = {"mask_path": "m.png", "depth_file_path": "d.png", "time": 0.5, "camera_angel_x": 0.3}
    for key, value in notes.items():
        scene = Scene(top={"fl_x": 30}, frame={key: value}, note=f"`{key}`")
        yield f"key_{key}", scene


def bent_scenes() -> Iterator[tuple[str, Scene]]:
    radial, all_of_them = {"k1": -0.1, "k2": 0.05}, {"k1": -0.1, "k2": 0.05, "p1": 0.01, "p2": -0.02}
    models: dict[str, tuple[str | None, dict[str, float], bool]] = {
        "none_named": (None, all_of_them, False),
        "SIMPLE_RADIAL": ("SIMPLE_RADIAL", {"k1": 0.12}, False),
        "RADIAL": ("RADIAL", radial, False),
        "OPENCV": ("OPENCV", all_of_them, False),
        "OPENCV_k3": ("OPENCV", {**all_of_them, "k3": 0.02}, False),
        "FULL_OPENCV": ("FULL_OPENCV", {**all_of_them, "k3": 0.02, "k4": 0.03, "k5": 0.01, "k6": 0.02}, False),
        "SIMPLE_RADIAL_FISHEYE": ("SIMPLE_RADIAL_FISHEYE", {"k1": 0.05}, True),
        "RADIAL_FISHEYE": ("RADIAL_FISHEYE", radial, True),
        "OPENCV_FISHEYE": ("OPENCV_FISHEYE", {"k1": 0.05, "k2": -0.02, "k3": 0.01, "k4": 0.01}, True),
        "fisheye_straight": ("OPENCV_FISHEYE", {}, True),
        "zeros": ("PINHOLE", {"k1": 0.0, "k2": 0.0}, False),
    }
    for (name, (model, bend, fisheye)), where in product(models.items(), ("top", "frame")):
        named = {} if model is None else {"camera_model": model}
        keys = {"fl_x": 30, "fl_y": 29, "cx": 11, "cy": 9.5, **bend, **named}
        lens = Lens(30, 29, 11, 9.5, bend, fisheye)
        yield f"bent_{name}_{where}", Scene(**{where: keys}, lens=lens)
        if where == "top":
            yield f"bent_{name}_downscale", Scene(top=keys, lens=lens, downscale=2)
    flagged = {"fl_x": 30, "k1": 0.05, "is_fisheye": True}
    yield "bent_is_fisheye", Scene(top=flagged, lens=Lens(bend={"k1": 0.05}, fisheye=True))
    refusals: dict[str, tuple[dict[str, Any], str]] = {
        "pinhole_k1": ({"camera_model": "PINHOLE", "k1": 0.1}, "PINHOLE, which has no k1"),
        "radial_p1": ({"camera_model": "RADIAL", "p1": 0.1}, "RADIAL, which has no p1"),
        "k4": ({"k4": 0.1}, "some programs mean r^8"),
        "fisheye_p1": ({"is_fisheye": True, "p1": 0.1}, "which has no p1"),
        "fisheye_and_not": ({"is_fisheye": True, "camera_model": "OPENCV"}, "Correct one of them"),
        "unknown_model": ({"camera_model": "THIN_PRISM_FISHEYE"}, "is not known"),
        "folded": ({"k1": -30.0}, "folds the image over"),
    }
    for name, (keys, message) in refusals.items():
        yield f"bent_{name}", Scene(top={"fl_x": 30, **keys}, refused=message)


# ----------------------------------------------------------------------------------------------------- names and text

LENS = {"fl_x": 30}


def linked(folder: Path) -> None:
    outside = folder.with_name(f"{folder.name}_blobs")
    outside.mkdir()
    for i in range(2):
        (folder / f"r_{i}.png").rename(outside / str(i))
        (folder / f"r_{i}.png").symlink_to(os.path.relpath(outside / str(i), folder))


def doubled(folder: Path) -> None:
    (folder / "r_0.jpg").write_bytes((folder / "r_0.png").read_bytes())


def name_scenes() -> Iterator[tuple[str, Scene]]:
    names = {
        "no_ending": ("r_{i}", "r_{i}.png"),
        "dot_slash": ("./r_{i}", "r_{i}.png"),
        "folders": ("a/b/r_{i}.png", "a/b/r_{i}.png"),
        "backslashes": (".\\a\\r_{i}", "a/r_{i}.png"),
        "double_slash": ("a//r_{i}.png", "a/r_{i}.png"),
        "up_and_down": ("a/../a/r_{i}", "a/r_{i}.png"),
        "absolute": ("{folder}/r_{i}.png", "r_{i}.png"),
        "upper_ending": ("r_{i}.png", "r_{i}.PNG"),
        "upper_name": ("r_{i}.PNG", "r_{i}.png"),
        "space": ("r {i}.png", "r {i}.png"),
        "escaped_space": ("r%20{i}.png", "r {i}.png"),
        "percent": ("r%20{i}.png", "r%20{i}.png"),
        "accents": ("r\u00e9_{i}", "re\u0301_{i}.png"),
        "dots": ("r.0.5_{i}", "r.0.5_{i}.png"),
        "hash": ("r#{i}", "r#{i}.png"),
        **{f"to_{ending}": ("r_{i}", f"r_{{i}}.{ending}") for ending in ("jpg", "jpeg", "webp", "tif", "bmp", "JPG")},
    }
    for name, (written_name, file) in names.items():
        yield f"name_{name}", Scene(top=LENS, name=written_name, file=file)
    yield "name_links", Scene(top=LENS, change=linked)
    refusals = {
        "nul": ("r_\x00{i}", "a character that no name of a file has"),
        "address": ("https://example.org/r_{i}.png", "is an address"),
        "drive": ("C:\\r_{i}.png", "points outside the folder"),
        "up": ("../r_{i}.png", "points outside the folder"),
        "up_backslash": ("..\\r_{i}.png", "points outside the folder"),
        "root": ("/r_{i}.png", "points outside the folder"),
        "empty": ("", "has no `file_path`"),
        "missing": ("q_{i}.png", "of which 2 are missing"),
        "other_ending": ("r_{i}.jpg", "There is r_0.png"),
    }
    for name, (written_name, message) in refusals.items():
        yield f"name_{name}", Scene(top=LENS, name=written_name, refused=message)
    yield "name_ambiguous", Scene(top=LENS, change=doubled, refused="could be any of r_0.jpg, r_0.png")
    yield "name_shared", Scene(top=LENS, name="r_{i}/im", file="r_{i}/im.png")
    codings: dict[str, tuple[Callable[[str], bytes], str]] = {
        "bom": (lambda text: text.encode("utf-8-sig"), ""),
        "indented": (lambda text: json.dumps(json.loads(text), indent=1).replace("\n", "\r\n").encode(), ""),
        "utf_16": (lambda text: text.encode("utf-16"), "Save it as UTF-8"),
        "utf_16_be": (lambda text: text.encode("utf-16-be"), "Save it as UTF-8"),
        "utf_32": (lambda text: text.encode("utf-32"), "Save it as UTF-8"),
        "latin_1": (lambda text: text.replace("r_", "\u00e9_").encode("latin-1"), "cannot be read as JSON"),
        "cut": (lambda text: text[:-9].encode(), "cannot be read as JSON"),
        "twice": (lambda text: text.replace('"fl_x"', '"fl_x": 3, "fl_x"').encode(), "`fl_x` twice"),
        "deep": (lambda text: text.replace('"fl_x"', f'"a": {"[" * 99}{"]" * 99}, "fl_x"').encode(), "too deeply"),
        "empty": (lambda text: b"", "cannot be read as JSON"),
        "frames_object": (lambda text: b'{"fl_x": 30, "frames": {"0": {}}}', "holds no `frames`"),
        "no_frames": (lambda text: b'{"fl_x": 30, "frames": []}', "holds no `frames`"),
        "list": (lambda text: b"[]", "holds no `frames`"),
    }
    for name, (encode, message) in codings.items():
        yield f"json_{name}", Scene(top=LENS, encode=encode, refused=message)


def image_scenes() -> Iterator[tuple[str, Scene]]:
    for mode, ending in product(("L", "RGB", "RGBA", "LA", "I;16"), ("png", "tif")):
        yield f"image_{mode.replace(';', '')}_{ending}", Scene(top=LENS, mode=mode, file=f"r_{{i}}.{ending}")
    for tag, ending in product(range(1, 9), ("jpg", "png", "tif", "webp")):
        note = "" if tag == 1 else f"the orientation tag {tag} is not applied"
        yield f"tag_{tag}_{ending}", Scene(top=LENS, tag=tag, file=f"r_{{i}}.{ending}", note=note)


# ------------------------------------------------------------------------------------------------------------- poses


def with_entry(row: int, column: int, value: Any) -> Callable[[Array], Any]:
    def change(matrix: Array) -> Any:
        rows = matrix.tolist()
        rows[row][column] = value
        return rows

    return change


def pose_scenes() -> Iterator[tuple[str, Scene]]:
    faults: dict[str, tuple[Callable[[Array], Any], str]] = {
        "transposed": (lambda m: m.T.tolist(), "looks transposed"),
        "last_row": (with_entry(3, 3, 2.0), "its last row is not 0 0 0 1 but 0 0 0 2"),
        "nan": (with_entry(0, 3, math.nan), "row 1, column 4 is NaN"),
        "infinity": (with_entry(2, 0, -math.inf), "row 3, column 1 is -Infinity"),
        "text": (with_entry(1, 1, "0.5"), 'row 2, column 2 is "0.5"'),
        "true": (with_entry(1, 1, True), "row 2, column 2 is true"),
        "mirrored": (lambda m: (m @ np.diag([-1.0, 1, 1, 1])).tolist(), "(mirrored)"),
        "scaled": (lambda m: (m @ np.diag([3.0, 3, 3, 1])).tolist(), "Divide them by 3"),
        "stretched": (lambda m: (m @ np.diag([1.0, 2, 1, 1])).tolist(), "(scaled or sheared)"),
        "singular": (lambda m: (m @ np.diag([1.0, 1, 0, 1])).tolist(), "is singular"),
        "flat": (lambda m: m.ravel().tolist(), "is not a 4x4 matrix of numbers"),
        "3x3": (lambda m: m[:3, :3].tolist(), "found shape (3, 3)"),
        "quaternion": (lambda m: {"q": [1, 0, 0, 0]}, "is not a 4x4 matrix of numbers"),
        "null": (lambda m: None, "is not a 4x4 matrix of numbers"),
        "far": (lambda m: (np.diag([1e6, 1e6, 1e6, 1]) @ m @ np.diag([1e-6, 1e-6, 1e-6, 1])).tolist(), "meets the box"),
        "opencv": (lambda m: (m @ FLIP).tolist(), "OpenCV's axes"),
        "world_to_camera_opencv": (lambda m: np.linalg.inv(m @ FLIP).tolist(), "no ray of its 2 cameras"),
    }
    for name, (change, message) in faults.items():
        yield f"pose_{name}", Scene(top=LENS, pose=change, refused=message)
    yield "pose_three_rows", Scene(top=LENS, pose=lambda m: m[:3].tolist())
    yield "pose_seven_digits", Scene(top=LENS, pose=lambda m: np.round(m, 7).tolist())


# ------------------------------------------------------------------------------------------------------ camera paths

FILM = Camera(pose=(), height=HEIGHT, width=WIDTH, fx=50.0, fy=50.0, cx=WIDTH / 2, cy=HEIGHT / 2)


def judge_path(lens: Lens, size: tuple[int, int], refused: str) -> Callable[[Path], str]:
    def judge(path: Path) -> str:
        try:
            cameras, _ = along(read_camera_path(path), FILM)
        except DataError as reason:
            if refused and refused in str(reason):
                return f"refused: {str(reason).removeprefix(f'{path}: ')}"
            return f"WRONG: refused as {reason}"
        if refused:
            return f"WRONG: read, though {refused}"
        for i, camera in enumerate(cameras):
            if (camera.width, camera.height) != size:
                return f"WRONG: {camera.width}x{camera.height} pixels"
            fault = of_rays(camera, lens, pose(i))
            if fault:
                return f"WRONG: frame {i}: {fault}"
        return "right"

    return judge


def path_files() -> Iterator[tuple[str, Any, Lens, tuple[int, int], str]]:
    """Name, content, the true lens and size, and the refusal."""
    matrices = [pose(i).tolist() for i in range(2)]
    own, stored = Lens(fx=50, fy=50), (WIDTH, HEIGHT)

    def frames(keys: dict[str, Any], change: Callable[[Array], Any] = lambda m: m.tolist()) -> dict[str, Any]:
        return {**keys, "frames": [{"transform_matrix": change(pose(i))} for i in range(2)]}

    def viewer(keys: dict[str, Any], **top: Any) -> dict[str, Any]:
        flat = [{"camera_to_world": pose(i).ravel().tolist(), "aspect": 1, **keys} for i in range(2)]
        return {"camera_type": "perspective", "camera_path": flat, **top}

    yield "list", matrices, own, stored, ""
    yield "list_three_rows", [matrix[:3] for matrix in matrices], own, stored, ""
    yield "no_lens", frames({}), own, stored, ""
    for name, (keys, lens) in statements().items():
        yield f"lens_{name}", frames(keys), lens, stored, ""
    bent = {"fl_x": 30, "k1": 0.1, "k2": -0.02}
    yield "bent", frames(bent), Lens(bend={"k1": 0.1, "k2": -0.02}), stored, ""
    wide = Lens(60, 60, 30, 10)
    yield "own_size", frames({"fl_x": 60, "w": 60, "h": 20}), wide, (60, 20), ""
    yield "viewer", viewer({"fov": 90}, render_width=60, render_height=20), Lens(10, 10, 30, 10), (60, 20), ""
    yield "viewer_no_size", viewer({"fov": 90}), Lens(HEIGHT / 2, HEIGHT / 2), stored, ""
    yield "viewer_panorama", viewer({"fov": 90}) | {"camera_type": "equirectangular"}, own, stored, "only perspective"
    yield "viewer_no_fov", viewer({}), own, stored, "`fov` must be a number"
    yield "mirrored", frames({}, lambda m: (m @ np.diag([-1.0, 1, 1, 1])).tolist()), own, stored, "(mirrored)"
    yield "transposed", frames({}, lambda m: m.T.tolist()), own, stored, "looks transposed"
    yield "nan", frames({}, with_entry(0, 0, math.nan)), own, stored, "row 1, column 1 is NaN"
    yield "contradiction", frames({"fl_x": 30, "camera_angle_x": 2.0}), own, stored, "Correct one of them"
    yield "nothing", {}, own, stored, "holds no list"


def cases(folder: Path) -> Iterator[Case]:
    """Scenes and camera paths, each in a folder or file of its own below `folder`."""
    groups = (lens_scenes, bent_scenes, name_scenes, image_scenes, pose_scenes)
    for name, scene in (one for group in groups for one in group()):
        yield Case(name, written(scene, folder / name), judge_scene(scene))
    for name, content, lens, size, refused in path_files():
        path = folder / f"path_{name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        yield Case(f"path_{name}", path, judge_path(lens, size, refused))
