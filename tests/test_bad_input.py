"""Every wrong input is answered with one readable block that names it, the code 2, and nothing lost."""

from __future__ import annotations

import gc
import json
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import fieldengine
from fieldengine.config.scene import read_scene
from fieldengine.errors import DataError, FieldEngineError, RunError, SceneError
from fieldengine.files.camera_path import read_camera_path
from fieldengine.runs.build import build_dataset
from fieldengine.types import RunContext

SCENE = """\
dataset: {type: image, path: photo.png}
field: {encoding: identity, activation: relu, width: 8, depth: 1}
training: {steps: 6, batch_size: 64, checkpoint_every: 3}
"""
FIELD_NAME = "mlp.layers.1.weight"
WEIGHT = ("training", "field", FIELD_NAME)
POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]]
Change = Callable[[Any], Any]


def refused(call: Callable[[], object], *parts: str | Path, kind: type[FieldEngineError] = FieldEngineError) -> str:
    """The message with which a call is refused: one short block that names all the parts."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert len(message) < 700
    for part in parts:
        assert str(part) in message
    for jargon in ("Traceback", "Errno", "No module named", "avcodec", "object at 0x"):
        assert jargon not in message
    return message


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def opened(scene: Callable[[str], Path], context: RunContext) -> Callable[[str], object]:
    """Read the data of a scene, as a training does before anything else."""
    return lambda dataset: build_dataset(read_scene(scene(f"dataset: {{{dataset}}}\n")), context)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photo.png, scene.yaml and a finished run; only read."""
    folder = tmp_path_factory.mktemp("trained")
    y, x = np.mgrid[0:16, 0:24]
    iio.imwrite(folder / "photo.png", np.stack([10 * x, 15 * y, x + y], axis=-1).astype(np.uint8))
    (folder / "scene.yaml").write_text(SCENE, encoding="utf-8")
    fieldengine.train(folder / "scene.yaml", out=folder / "run")
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A run folder of its own to damage."""
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def resume(trained: Path, folder: Path, **changes: Any) -> Any:
    return fieldengine.train(trained / "scene.yaml", {"training.steps": 9, **changes}, out=folder, resume=True)


# ------------------------------------------------------------------------------------------------- on the command line


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one block of a refusal: `error: ...` on stderr, code 2, nothing else."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").rstrip("\n")


def test_train_answers_wrong_input_in_one_line_and_makes_nothing(
    fieldengine_command, scene: Callable[[str], Path], photo: Path, tmp_path: Path
):
    scene(SCENE)
    before = files(tmp_path)
    done = fieldengine_command("train", "scene.yaml", "dataset.path=nope.png")
    assert complaint(done) == "nope.png: no such file. Set `dataset.path` to an image"
    assert files(tmp_path) == before
    assert not (tmp_path / "runs" / "scene").exists()


# --------------------------------------------------------------------------------------------------------- the scene


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("dataset: {type: image, pth: a.png}\n", (":1: dataset.pth", 'Did you mean "path"?')),
        ("dataset: {type: image, path: a.png}\ntraining: {steps: x}\n", (":2: training.steps", '"x"')),
        ("dataset: {type: image, path: a.png}\ntraining: {steps: 0}\n", (":2: training.steps", "found 0")),
        ("dataset: {type: imgae, path: a.png}\n", (":1: dataset.type", 'Did you mean "image"?')),
        ("dataset: {type: image, path: a.png\n", ("is not valid YAML",)),
        ("dataset: {type: image, path: ~who-is-this/a.png}\n", (":1: dataset.path", "~who-is-this")),
        ("dataset: {type: blender, path: a, aabb: [[.nan, 0, 0], [1, 1, 1]]}\n", (":1: dataset.aabb", "finite")),
        ("dataset: {type: blender, path: a, aabb: [[0, 0, 0], [1, 1, 0]]}\n", (":1: dataset", "below the upper")),
    ],
    ids=["key", "type", "range", "plugin", "YAML", "home", "not finite", "empty box"],
)
def test_a_wrong_scene_makes_no_run(text: str, parts: tuple[str, ...], scene: Callable[[str], Path], tmp_path: Path):
    path = scene(text)
    refused(lambda: fieldengine.train(path, out=tmp_path / "run"), path, *parts, kind=SceneError)
    assert not (tmp_path / "run").exists()


def test_a_renderer_that_does_not_suit_the_data_is_refused_before_training(scene, photo: Path, tmp_path: Path):
    path = scene(f"{SCENE}renderer: volume\n")
    refused(lambda: fieldengine.train(path, out=tmp_path / "run"), "renderer.sampler (occupancy)", "3-D")
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------------------- images


def png(width: int, height: int, depth: int, rows: bytes) -> bytes:
    """A PNG whose head promises this many pixels of RGB, whatever its rows hold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def image(shape: tuple[int, ...] = (16, 24, 3), kind: str = ".png") -> bytes:
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return iio.imwrite("<bytes>", values, extension=kind)


def deep_image() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (16, 24 * 6)).astype(np.uint8)
    return png(24, 16, 16, b"".join(b"\0" + row.tobytes() for row in noise))


IMAGES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty": ("a.png", lambda: b"", "is empty (0 bytes)"),
    "half a PNG": ("a.png", lambda: image()[:400], "cannot be read as an image"),
    "the head of a PNG": ("a.png", lambda: image()[:20], "cannot be read as an image"),
    "half a PNG of 16 bits": ("a.png", lambda: deep_image()[:400], "cannot be read as an image"),
    "half a JPEG": ("a.jpg", lambda: image(kind=".jpg")[:400], "cannot be read as an image"),
    "text": ("a.png", lambda: b"not an image at all", "cannot be read as an image"),
    "text by its name": ("a.txt", lambda: b"not an image at all", "cannot be read as an image"),
    "1x1": ("a.png", lambda: image((1, 1, 3)), "is 1x1 pixels; a field needs at least 2x2"),
    "one row": ("a.png", lambda: image((1, 24, 3)), "is 24x1 pixels; a field needs at least 2x2"),
    "a bomb": ("a.png", lambda: png(100_000, 100_000, 8, bytes(99)), "pixels"),
    "a smaller bomb": ("a.png", lambda: png(11_000, 11_000, 8, bytes(99)), "is too large to open safely"),
    "a bomb of 16 bits": ("a.png", lambda: png(30_000, 30_000, 16, bytes(99)), "pixels"),
}


# imageio leaves it to the garbage collector to close a file that none of its readers takes
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", IMAGES)
def test_a_image_that_cannot_be_used_is_refused_by_name(name: str, opened, tmp_path: Path):
    file, content, message = IMAGES[name]
    (tmp_path / file).write_bytes(content())
    refused(lambda: opened(f"type: image, path: {file}"), tmp_path / file, message, kind=DataError)
    gc.collect()


@pytest.mark.parametrize("dataset", ["type: image, path: bad", "type: mesh, path: bad.ply", "type: blender, path: bad"])
def test_data_that_cannot_be_used_makes_no_run(dataset: str, scene: Callable[[str], Path], tmp_path: Path):
    path = scene(f"dataset: {{{dataset}}}\n")
    refused(lambda: fieldengine.train(path, out=tmp_path / "deep" / "run"), tmp_path / "bad", kind=DataError)
    assert list(files(tmp_path)) == ["scene.yaml"]
    assert not (tmp_path / "deep" / "run").exists()


def test_a_image_that_is_missing_or_a_folder_is_refused_by_name(opened, tmp_path: Path, photo: Path):
    refused(lambda: opened("type: image, path: nope.png"), tmp_path / "nope.png", "no such file", kind=DataError)
    refused(lambda: opened("type: image, path: ."), "is a folder; name one image file", "photo.png", kind=DataError)


@pytest.mark.parametrize("factor", [9, 16, 17, 100, 10**9])
def test_a_downscale_that_leaves_too_few_pixels_is_refused_in_words(factor: int, opened, photo: Path):
    refused(lambda: opened(f"type: image, path: photo.png, downscale: {factor}"), photo, f"downscale {factor}")


# ------------------------------------------------------------------------------------------------------------ meshes


def sphere(kind: str, **options: Any) -> bytes:
    found = trimesh.creation.icosphere(subdivisions=2).export(file_type=kind, **options)
    return found if isinstance(found, bytes) else found.encode()


def ply(vertices: list[list[float]], faces: list[list[int]]) -> bytes:
    lines = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    lines += [" ".join(map(str, vertex)) for vertex in vertices]
    lines += [" ".join(map(str, [len(face), *face])) for face in faces]
    return ("\n".join(lines) + "\n").encode()


CORNERS = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
NAN = float("nan")
MESHES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty": ("a.ply", lambda: b"", "is empty (0 bytes)"),
    "no faces": ("a.ply", lambda: ply(CORNERS, []), "no faces"),
    "no faces in OBJ": ("a.obj", lambda: b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no faces"),
    "a NaN": ("a.ply", lambda: ply([*CORNERS[:3], [NAN, 0, 0]], [[0, 1, 2], [0, 1, 3]]), "1 of 4 vertices"),
    "a NaN in OBJ": ("a.obj", lambda: b"v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", "1 of 3 vertices"),
    "infinity": ("a.obj", lambda: b"v 0 0 0\nv inf 0 0\nv 0 1 0\nf 1 2 3\n", "1 of 3 vertices that are not finite"),
    "faces on a line": (
        "a.ply", lambda: ply([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2], [0, 0, 1]]), "has only faces without area"
    ),
    "all in one place": ("a.ply", lambda: ply([[1, 1, 1]] * 3, [[0, 1, 2]]), "has only faces without area"),
    "a vertex that is not there": ("a.ply", lambda: ply(CORNERS, [[0, 1, 9]]), "a.ply"),
    "half a PLY": ("a.ply", lambda: sphere("ply")[:2000], "cannot be read as a mesh"),
    "half an STL": ("a.stl", lambda: sphere("stl")[:2000], "cannot be read as a mesh"),
    "half a GLB": ("a.glb", lambda: sphere("glb")[:2000], "cannot be read as a mesh"),
    "half an OFF": ("a.off", lambda: sphere("off")[:2000], "cannot be read as a mesh"),
    "an OFF without its last faces": ("a.off", lambda: b"\n".join(sphere("off").split(b"\n")[:-30]), "cut short"),
    "a PLY without its last faces": (
        "a.ply", lambda: b"\n".join(sphere("ply", encoding="ascii").split(b"\n")[:-30]), "cut short"
    ),
    "an image by that name": ("a.stl", lambda: image(), "cannot be read as a mesh"),
    "text by that name": ("a.ply", lambda: b"hello there\n", "cannot be read as a mesh"),
    "another format": ("a.blend", lambda: b"BLENDER", '".blend" is not a mesh format that can be read'),
    "an archive": ("a.zip", lambda: b"PK", '".zip" is not a mesh format that can be read'),
    "no ending": ("mesh", lambda: b"v 0 0 0", "ending"),
    "billions of vertices promised": (
        "a.ply", lambda: ply(CORNERS, [[0, 1, 2]]).replace(b"vertex 4", b"vertex 4000000000"), "a.ply"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MESHES)
def test_a_mesh_that_cannot_be_used_is_refused_by_name(name: str, opened, tmp_path: Path):
    file, content, message = MESHES[name]
    (tmp_path / file).write_bytes(content())
    refused(lambda: opened(f"type: mesh, path: {file}, n_samples: 1000"), tmp_path / file, message, kind=DataError)


def test_a_mesh_without_faces_is_not_said_to_have_no_vertices(opened, tmp_path: Path):
    (tmp_path / "a.ply").write_bytes(ply(CORNERS, []))
    assert "0 vertices" not in refused(lambda: opened("type: mesh, path: a.ply"), "no faces")


def test_a_mesh_that_is_missing_or_a_folder_is_refused_by_name(opened, tmp_path: Path):
    refused(lambda: opened("type: mesh, path: nope.ply"), tmp_path / "nope.ply", "no such file", kind=DataError)
    refused(lambda: opened("type: mesh, path: ."), "is a folder; name one mesh file", kind=DataError)


def test_a_mesh_reads_no_other_file(opened, tmp_path: Path):
    buffer = sphere("ply")
    (tmp_path / "outside.bin").write_bytes(buffer)
    part = {"buffers": [{"uri": "outside.bin", "byteLength": len(buffer)}], "asset": {"version": "2.0"}}
    (tmp_path / "a.gltf").write_text(json.dumps(part), encoding="utf-8")
    refused(lambda: opened("type: mesh, path: a.gltf"), tmp_path / "a.gltf", kind=DataError)


# ------------------------------------------------------------------------------------------------------ posed images


@pytest.fixture
def posed(tmp_path: Path) -> Callable[..., Path]:
    """A folder of three posed images whose JSON was changed; returns the JSON file."""

    def write(change: Change = lambda found: None) -> Path:
        (tmp_path / "posed" / "train").mkdir(parents=True)
        iio.imwrite(tmp_path / "outside.png", np.zeros((4, 4, 4), np.uint8))
        frames = []
        for i in range(3):
            (tmp_path / "posed" / "train" / f"r_{i}.png").write_bytes(image((6, 8, 4)))
            frames.append({"file_path": f"./train/r_{i}", "transform_matrix": [list(row) for row in POSE]})
        found = {"camera_angle_x": 0.7, "frames": frames}
        text = change(found)
        path = tmp_path / "posed" / "transforms_train.json"
        path.write_text(text if isinstance(text, str) else json.dumps(found), encoding="utf-8")
        return path

    return write


def frame(key: str, value: Any) -> Change:
    return lambda found: found["frames"][1].__setitem__(key, value)


def top(key: str, value: Any) -> Change:
    return lambda found: found.__setitem__(key, value)


def matrix(*rows: list[float]) -> Change:
    return frame("transform_matrix", [*rows, [0, 0, 0, 1]])


TRANSFORMS: dict[str, tuple[Change, str]] = {
    "missing image": (frame("file_path", "./train/r_9"), "names 3 images, of which 1 are missing: train/r_9.png"),
    "leaves the folder": (frame("file_path", "../outside"), 'frame 1 points outside the folder: "../outside"'),
    "leaves by the root": (frame("file_path", "/etc/passwd"), 'frame 1 points outside the folder: "/etc/passwd"'),
    "leaves further down": (frame("file_path", "train/../../outside"), "frame 1 points outside the folder"),
    "no file_path": (lambda found: found["frames"][1].pop("file_path") and None, "frame 1 has no `file_path`"),
    "a number for a path": (frame("file_path", 3), "frame 1 has no `file_path`"),
    "a frame that is none": (lambda found: found["frames"].__setitem__(1, "x"), "frame 1 has no `file_path`"),
    "no frames": (top("frames", []), "holds no `frames`"),
    "frames of another sort": (top("frames", {"a": 1}), "holds no `frames`"),
    "singular matrix": (matrix([1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]), "frame 1: `transform_matrix` is singular"),
    "zeros": (matrix([0] * 4, [0] * 4, [0] * 4), "frame 1: `transform_matrix` is singular"),
    "scaled": (matrix([2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]), "are not a rotation"),
    "mirrored": (matrix([-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]), "are not a rotation"),
    "a NaN": (matrix([NAN, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]), "must be a finite 4x4 matrix"),
    "too small": (frame("transform_matrix", [[1, 0], [0, 1]]), "must be a finite 4x4 matrix, found shape (2, 2)"),
    "ragged": (frame("transform_matrix", [[1], [2, 3]]), "is not a 4x4 matrix of numbers"),
    "text": (frame("transform_matrix", "x"), "is not a 4x4 matrix of numbers"),
    "no matrix": (lambda found: found["frames"][1].pop("transform_matrix") and None, "frame 1: `transform_matrix`"),
    **{
        f"angle {angle}": (top("camera_angle_x", angle), "`camera_angle_x` must lie between 0 and pi radians")
        for angle in (0, -1, 3.2, 40, "a", NAN, None)
    },
    "no JSON": (lambda found: "{", "cannot be read as JSON"),
    "no text": (lambda found: "", "cannot be read as JSON"),
    "a list": (lambda found: "[]", "holds no `frames`"),
    "nested without end": (lambda found: "[" * 100_000, "cannot be read as JSON"),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_poses_that_cannot_be_used_are_refused_with_file_and_frame(name: str, posed, opened):
    change, message = TRANSFORMS[name]
    path = posed(change)
    refused(lambda: opened("type: blender, path: posed"), path, message, kind=DataError)


def test_a_link_to_an_image_that_is_gone_is_refused(posed, opened, tmp_path: Path):
    path = posed()
    (tmp_path / "posed" / "train" / "r_1.png").unlink()
    (tmp_path / "posed" / "train" / "r_1.png").symlink_to(tmp_path / "nothing.png")
    refused(lambda: opened("type: blender, path: posed"), path, "of which 1 are missing: train/r_1.png")


def test_an_image_that_is_cut_short_is_refused_by_name(posed, opened, tmp_path: Path):
    posed()
    file = tmp_path / "posed" / "train" / "r_2.png"
    file.write_bytes(image((6, 8, 4))[:50])
    refused(lambda: opened("type: blender, path: posed"), file, "cannot be read as an image")


def test_a_folder_without_poses_is_refused_with_what_it_holds(posed, opened, tmp_path: Path):
    path = posed()
    refused(lambda: opened("type: blender, path: posed/train"), "has no transforms_train.json", "r_0.png, r_1.png")
    refused(lambda: opened("type: blender, path: nope"), tmp_path / "nope", "no such folder")
    refused(lambda: opened(f"type: blender, path: {path}"), path, "is a file")


@pytest.mark.parametrize("factor", [7, 100])
def test_a_downscale_that_leaves_no_pixel_is_refused_in_words(factor: int, posed, opened):
    posed()
    refused(lambda: opened(f"type: blender, path: posed, downscale: {factor}"), "r_0.png", f"downscale {factor}")


# ------------------------------------------------------------------------------------------------- where a run goes to


def test_a_folder_that_holds_something_is_not_written_into(trained: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose me", encoding="utf-8")
    before = files(tmp_path)
    for out in (tmp_path / "mine", trained / "run"):
        refused(lambda out=out: fieldengine.train(trained / "scene.yaml", out=out), out, "already holds something")
    assert files(tmp_path) == before


@pytest.mark.parametrize("below", ["", "run", "deep/down/run"])
def test_a_folder_that_cannot_be_made_is_refused_by_name(below: str, trained: Path, tmp_path: Path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    out = tmp_path / "file" / below
    refused(lambda: fieldengine.train(trained / "scene.yaml", out=out), out, "--out", kind=RunError)
    assert files(tmp_path) == {"file": b"mine"}


def test_a_file_where_the_runs_belong_is_refused_by_name(trained: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("mine", encoding="utf-8")
    refused(lambda: fieldengine.train(trained / "scene.yaml"), "runs/scene", "--out", kind=RunError)
    assert files(tmp_path) == {"runs": b"mine"}


def test_a_link_to_nowhere_where_the_runs_belong_is_refused(trained: Path, tmp_path: Path, fieldengine_command):
    (tmp_path / "runs").symlink_to(tmp_path / "unmounted" / "runs")
    said = complaint(fieldengine_command("train", trained / "scene.yaml", "training.steps=1", timeout=60))
    assert said.startswith("runs/scene: cannot be ")


def test_an_empty_folder_is_taken_and_stays_when_the_data_is_wrong(trained: Path, tmp_path: Path):
    out = tmp_path / "empty"
    out.mkdir()
    refused(lambda: fieldengine.train(trained / "scene.yaml", {"dataset.path": "nope.png"}, out=out), "nope.png")
    assert files(tmp_path) == {}
    assert fieldengine.train(trained / "scene.yaml", {"training.steps": 1}, out=out).status == "done"


# ------------------------------------------------------------------------------------------------------------ metrics


METRICS = {
    "ms_ssim": "needs images of 176 pixels a side or more, found 24x16. Leave it out",
    "lpips_alex": "needs images of 31 pixels a side or more, found 24x16. Leave it out",
    "lpips_vgg": "needs a network that is not here: install the torchvision that goes with torch ",
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_cannot_be_computed_is_refused_before_training(
    name: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    changes = {"evaluation.metrics": ["psnr", name]}
    out = tmp_path / "run"
    message = f"evaluation.metrics: {name} {METRICS[name]}"
    refused(lambda: fieldengine.train(trained / "scene.yaml", changes, out=out), message, kind=SceneError)
    assert files(tmp_path) == {}
    assert not out.exists()


def test_a_metric_that_does_not_exist_is_answered_with_the_nearest(trained: Path):
    message = 'evaluation.metrics.1.type: no metric "lpips". Installed: chamfer, iou, lpips_alex, lpips_vgg, ms_ssim'
    changes = {"evaluation.metrics": ["psnr", "lpips"]}
    refused(lambda: fieldengine.train(trained / "scene.yaml", changes), message, '"lpips_vgg"?', kind=SceneError)


# ------------------------------------------------------------------------------------------------------ going on again


def test_a_changed_scene_is_not_resumed_and_every_changed_key_is_named(trained: Path, copy: Path):
    before = files(copy)
    changes = {"field.width": 16, "training.lr": 0.5, "training.schedule.decay": "cosine"}
    message = refused(
        lambda: resume(trained, copy, **changes), copy, "field.width was 8, is 16", "training.lr was 0.001, is 0.5",
        "training.schedule.decay was 'exponential', is 'cosine'", kind=RunError,
    )  # fmt: skip
    assert message.count(" was ") == 4, "the three keys, and `was started with another scene`"
    assert files(copy) == before


@pytest.mark.parametrize(
    "changes",
    [{"training.checkpoint_every": 2}, {"training.log_every": 1}, {"evaluation.every": 2, "evaluation.max_views": 1}],
)
def test_what_only_looks_at_a_training_may_change(changes: dict[str, Any], trained: Path, copy: Path):
    assert resume(trained, copy, **changes).summary["steps"] == 9


def test_there_must_be_something_to_resume(trained: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    refused(lambda: resume(trained, tmp_path / "nope"), tmp_path / "nope", "nothing to resume", kind=RunError)
    refused(lambda: resume(trained, tmp_path / "empty"), tmp_path / "empty", "is not a run folder", kind=RunError)
    refused(lambda: fieldengine.train(trained / "scene.yaml", resume=True), "runs/scene", "Leave out --resume")
    assert not (tmp_path / "runs").exists()


def test_a_run_whose_data_is_gone_is_not_resumed_and_keeps_its_files(trained: Path, copy: Path, tmp_path: Path):
    shutil.copy(trained / "photo.png", tmp_path / "other.png")
    out = tmp_path / "second"
    fieldengine.train(trained / "scene.yaml", {"dataset.path": str(tmp_path / "other.png")}, out=out)
    (tmp_path / "other.png").unlink()
    before = files(out)
    refused(lambda: resume(trained, out, **{"dataset.path": str(tmp_path / "other.png")}), tmp_path / "other.png")
    after = files(out)
    assert after.pop("log.txt").startswith(before.pop("log.txt"))
    assert after == before


# ------------------------------------------------------------------------------------------------- damaged checkpoints


def last(folder: Path) -> Path:
    return sorted((folder / "checkpoints").iterdir())[-1]


def drop(*keys: str) -> Change:
    def change(found: Any) -> None:
        for key in keys[:-1]:
            found = found[key]
        del found[keys[-1]]

    return change


def tensor(value: torch.Tensor | None, *keys: str) -> Change:
    """Replace the tensor that the state names under these keys, or take it away."""

    def damage(folder: Path) -> None:
        name = json.loads((last(folder) / "state.json").read_text(encoding="utf-8"))
        for key in (*keys, "$tensor"):
            name = name[key]
        path = last(folder) / "state.safetensors"
        found = load_file(path)
        del found[name]
        save_file(found if value is None else {**found, name: value}, path)

    return damage


def state(change: Change) -> Change:
    def damage(folder: Path) -> None:
        path = last(folder) / "state.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        changed = change(found)
        path.write_text(json.dumps(found if changed is None else changed), encoding="utf-8")

    return damage


def without(*keys: str) -> Change:
    return state(drop(*keys))


def cut(name: str, size: int) -> Change:
    def damage(folder: Path) -> None:
        path = last(folder) / name
        path.write_bytes(path.read_bytes()[:size])

    return damage


DAMAGED: dict[str, tuple[Change, str]] = {
    "a tensor is missing": (tensor(None, *WEIGHT), WEIGHT[-1]),
    "a tensor is not listed": (without("training", "field", FIELD_NAME), f"{FIELD_NAME} is missing"),
    "a tensor has another shape": (
        tensor(torch.zeros(5, 5), *WEIGHT),
        f"{FIELD_NAME} has shape (5, 5) instead of (3, 8)",
    ),
    "a tensor too many": (
        state(lambda found: found["training"]["field"].update(extra=found["training"]["field"][FIELD_NAME])),
        "extra is not part of this field",
    ),
    "a number for a tensor": (
        state(lambda found: found["training"]["field"].__setitem__(FIELD_NAME, 3)), "is damaged",
    ),
    "tensors cut short": (cut("state.safetensors", 500), "is damaged and cannot be read"),
    "tensors empty": (cut("state.safetensors", 0), "is damaged and cannot be read"),
    "tensors gone": (lambda folder: (last(folder) / "state.safetensors").unlink(), "is damaged and cannot be read"),
    "state cut short": (cut("state.json", 500), "is damaged and cannot be read"),
    "state gone": (lambda folder: (last(folder) / "state.json").unlink(), "is damaged and cannot be read"),
    "state is a list": (state(lambda found: [1]), "is damaged"),
    "state is empty": (state(lambda found: {}), "is damaged"),
    "no training": (without("training"), "is damaged"),
    "no field": (without("training", "field"), "is damaged"),
    "no averages": (without("training", "ema"), "is damaged"),
    "a newer format": (state(lambda found: found.__setitem__("format", 99)), "format"),
}  # fmt: skip
DAMAGED_FOR_RESUME: dict[str, tuple[Change, str]] = {
    "no optimizer": (without("training", "optimizer"), "is damaged"),
    "no generator": (without("training", "generator"), "is damaged"),
    "no step": (without("training", "step"), "is damaged"),
    "a generator of another sort": (
        tensor(torch.zeros(3, dtype=torch.uint8), "training", "generator"), "is damaged",
    ),
    "optimizer of another shape": (
        tensor(torch.zeros(5, 5), "training", "optimizer", "state", "0", "exp_avg"),
        "optimizer state 0.exp_avg has shape (5, 5) instead of (8, 2)",
    ),
    "optimizer of fewer parameters": (
        state(lambda found: found["training"]["optimizer"]["param_groups"][0]["params"].pop() and None),
        "does not fit this scene",
    ),
    "optimizer without its moments": (without("training", "optimizer", "state", "0", "exp_avg"), "is damaged"),
}  # fmt: skip
DAMAGED_FOR_LOADING: dict[str, tuple[Change, str]] = {
    "no domain": (without("domain"), "is damaged"),
    "no recipe": (without("recipe"), "is damaged"),
    "a field that is not installed": (
        state(lambda found: found["recipe"]["field"].__setitem__("type", "signl")), 'Did you mean "signal"?'
    ),
    "a box without extent": (state(lambda found: found["domain"].__setitem__("aabb", [[1], [2]])), "instead of"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED | DAMAGED_FOR_LOADING)
def test_a_damaged_checkpoint_is_not_opened_and_named(name: str, copy: Path):
    damage, message = (DAMAGED | DAMAGED_FOR_LOADING)[name]
    damage(copy)
    refused(lambda: fieldengine.load(copy), last(copy), message)


@pytest.mark.parametrize("name", DAMAGED | DAMAGED_FOR_RESUME)
def test_a_damaged_checkpoint_is_not_resumed_and_nothing_is_lost(name: str, trained: Path, copy: Path):
    damage, message = (DAMAGED | DAMAGED_FOR_RESUME)[name]
    damage(copy)
    before = files(copy)
    refused(lambda: resume(trained, copy), last(copy), message, kind=RunError)
    after = files(copy)
    before.pop("log.txt"), after.pop("log.txt")
    assert after == before


def test_without_the_damaged_checkpoint_the_one_before_is_used(trained: Path, copy: Path):
    cut("state.safetensors", 100)(copy)
    assert "Remove it to fall back to the one before" in refused(lambda: fieldengine.load(copy))
    shutil.rmtree(last(copy))
    assert last(copy).name == "step_00000003"
    assert resume(trained, copy).summary["steps"] == 9


def test_a_run_without_checkpoints_is_refused_by_name(copy: Path, trained: Path, tmp_path: Path):
    shutil.rmtree(copy / "checkpoints")
    for call in (lambda: fieldengine.load(copy), lambda: resume(trained, copy)):
        refused(call, copy, "has no checkpoint. Train first", kind=RunError)
    refused(lambda: fieldengine.load(tmp_path / "nope"), tmp_path / "nope", "no such run folder or field file")
    refused(lambda: fieldengine.load(tmp_path), tmp_path, "is not a run folder")


@pytest.mark.parametrize("text", ["{", "[]", "3", ""])
def test_a_damaged_summary_is_refused_by_name(text: str, copy: Path):
    (copy / "summary.json").write_text(text, encoding="utf-8")
    refused(lambda: fieldengine.load(copy), copy / "summary.json", kind=RunError)


def test_a_folder_that_only_looks_like_a_checkpoint_is_passed_over(copy: Path):
    (copy / "checkpoints" / "step_notes").mkdir()
    assert fieldengine.load(copy).status == "done"


def test_a_log_that_was_cut_short_does_not_stop_a_run_from_going_on(trained: Path, copy: Path):
    path = copy / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert resume(trained, copy).status == "done"
    steps = [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert steps[-1] == 9


# --------------------------------------------------------------------------------------------------------- field files


@pytest.fixture
def field_file(trained: Path, tmp_path: Path) -> Path:
    fieldengine.load(trained / "run").export("field", tmp_path / "field.safetensors")
    return tmp_path / "field.safetensors"


def rewrite(path: Path, change: Change = lambda found: None, header: Change | None = None) -> None:
    with safe_open(path, framework="pt") as file:
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        told = json.loads(file.metadata()["fieldengine"])
    change(found)
    if header is not None:
        header(told)
    save_file(found, path, metadata={"fieldengine": json.dumps(told)})


def test_a_file_that_is_no_field_is_refused_by_name(field_file: Path, trained: Path, tmp_path: Path):
    whole = field_file.read_bytes()
    for size in (0, 4, 100, len(whole) - 10):
        field_file.write_bytes(whole[:size])
        refused(lambda: fieldengine.load(field_file), field_file, "is not a field file, or is cut short", kind=RunError)
    for other in (trained / "photo.png", trained / "scene.yaml"):
        refused(lambda other=other: fieldengine.load(other), other, "is not a field file", kind=RunError)
    save_file({"a": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    refused(lambda: fieldengine.load(tmp_path / "foreign.safetensors"), "foreign.safetensors", "not one that")


FIELD_FILES: dict[str, tuple[Change, Change | None, str]] = {
    "a tensor is missing": (drop(f"field.{FIELD_NAME}"), None, f"{FIELD_NAME} is missing"),
    "a tensor has another shape": (
        lambda t: t.__setitem__(f"field.{FIELD_NAME}", torch.zeros(2)), None, "has shape (2,) instead of (3, 8)"
    ),
    "a tensor too many": (lambda t: t.__setitem__("field.x", torch.zeros(2)), None, "x is not part of this field"),
    "a newer format": (lambda t: None, lambda h: h.__setitem__("format", 99), "has format 99; this fieldengine reads"),
    "no domain": (lambda t: None, drop("domain"), "not one that"),
    "half a domain": (lambda t: None, drop("domain", "aabb"), "is damaged"),
    "no recipe": (lambda t: None, drop("recipe"), "is damaged"),
    "a field that is not installed": (
        lambda t: None, lambda h: h["recipe"]["field"].__setitem__("type", "signl"), 'Did you mean "signal"?'
    ),
    "a width that is none": (
        lambda t: None, lambda h: h["recipe"]["field"].__setitem__("width", -1), "field.width: expected greater than"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIELD_FILES)
def test_a_damaged_field_file_is_refused_by_name(name: str, field_file: Path):
    change, header, message = FIELD_FILES[name]
    rewrite(field_file, change, header)
    refused(lambda: fieldengine.load(field_file), field_file, message)


def test_a_field_file_cannot_write_over_a_folder(trained: Path, tmp_path: Path):
    (tmp_path / "a.safetensors").mkdir()
    run = fieldengine.load(trained / "run")
    refused(lambda: run.export("field", tmp_path / "a.safetensors"), tmp_path / "a.safetensors", "is a folder")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    out = tmp_path / "file" / "a.safetensors"
    refused(lambda: run.export("field", out), out, "cannot be written", kind=RunError)
    assert files(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"frames": 3}', '{"frames": [3]}', '[[1, 2], [3]]', '"x"', "[" * 100_000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_a_camera_path_that_is_none_is_refused_by_name(text: str, tmp_path: Path):
    path = tmp_path / "path.json"
    path.write_text(text, encoding="utf-8")
    refused(lambda: read_camera_path(path), path, kind=DataError)
