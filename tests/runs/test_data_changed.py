"""A run remembers its data: it is not resumed or scored on other files unless one insists."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import trimesh

import fieldengine
from fieldengine.errors import RunError
from fieldengine.files.digest import changes, digests

TRAINING = "field: {width: 8, depth: 1, encoding: identity}\ntraining: {steps: 2, batch_size: 50}\n"


@pytest.fixture
def posed(tmp_path: Path) -> Path:
    """A folder with four views of nothing much, from around the origin."""
    folder = tmp_path / "posed"
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        frames = []
        for i in range(2):
            iio.imwrite(folder_of(folder) / f"{split}{i}.png", random.integers(0, 255, (8, 8, 3), dtype=np.uint8))
            pose = np.eye(4)
            pose[:3, 3] = (0.3 * i, 0, 3)
            frames.append({"file_path": f"{split}{i}", "transform_matrix": pose.tolist()})
        text = json.dumps({"camera_angle_x": 0.8, "frames": frames})
        (folder / f"transforms_{split}.json").write_text(text, encoding="utf-8")
    return folder


def folder_of(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def other_image(path: Path) -> None:
    iio.imwrite(path, np.full(iio.imread(path).shape[:2], 1000, dtype=np.uint16))


def doubled(path: Path) -> None:
    trimesh.load_mesh(path, process=False).apply_scale(2).export(path)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


KINDS: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "an image": ("{type: image, path: PHOTO}", "photo.png had", other_image),
    "a mask": ("{type: image, path: PHOTO, mask: MASK}", "mask.png had", lambda path: longer(path.parent / "mask.png")),
    "a mesh": (
        "{type: mesh, path: BALL, n_samples: 1000}", "ball.ply holds other bytes",
        lambda path: doubled(path.parent / "ball.ply"),
    ),
    "a view": ("{type: blender, path: POSED}", "train1.png had", lambda p: longer(p.parent / "posed/train1.png")),
    "a test view": ("{type: blender, path: POSED}", "test0.png", lambda path: longer(path.parent / "posed/test0.png")),
    "poses": (
        "{type: blender, path: POSED}", "transforms_test.json had",
        lambda path: longer(path.parent / "posed/transforms_test.json"),
    ),
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("quick_scores")


@pytest.fixture
def write(photo: Path, ball: Path, posed: Path, tmp_path: Path) -> Callable[[str], Path]:
    mask = np.zeros(iio.imread(photo).shape[:2], dtype=np.uint8)
    mask[: len(mask) // 2] = 255
    iio.imwrite(tmp_path / "mask.png", mask)

    def written(dataset: str) -> Path:
        for name, path in (("PHOTO", photo), ("MASK", tmp_path / "mask.png"), ("BALL", ball), ("POSED", posed)):
            dataset = dataset.replace(name, str(path))
        path = tmp_path / "scene.yaml"
        path.write_text(f"dataset: {dataset}\n{TRAINING}", encoding="utf-8")
        return path

    return written


@pytest.mark.parametrize("kind", KINDS)
def test_data_that_changed_are_refused_with_what_changed_until_one_insists(
    kind: str, write: Callable[[str], Path], photo: Path, tmp_path: Path
):
    dataset, said, change = KINDS[kind]
    scene, run = write(dataset), tmp_path / "run"
    fieldengine.train(scene, out=run)
    more = {"training.steps": 4}
    change(photo)
    for ask in (
        lambda: fieldengine.load(run).evaluate(),
        lambda: fieldengine.train(scene, more, out=run, resume=True),
    ):
        with pytest.raises(RunError, match="was trained on different data") as caught:
            ask()
        assert said in str(caught.value)
        assert "training.data_changed: accept" in str(caught.value)
        assert caught.value.exit_code == 2
    if kind == "an image":
        return  # of another number of channels: no insisting helps
    again = fieldengine.train(scene, {**more, "training.data_changed": "accept"}, out=run, resume=True)
    assert again.status == "done"
    assert fieldengine.load(run).evaluate(), "from here on the new data are the run's"


def test_data_that_did_not_change_go_on_wherever_the_run_is(write: Callable[[str], Path], tmp_path: Path):
    scene = write("{type: blender, path: POSED}")
    fieldengine.train(scene, out=tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "moved")
    assert fieldengine.load(tmp_path / "moved").evaluate()
    kept = json.loads((tmp_path / "moved" / "data.json").read_text(encoding="utf-8"))
    assert set(kept) == {
        "transforms_train.json", "transforms_test.json", "train0.png", "train1.png", "test0.png", "test1.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["null", "3", "NaN", "[]", '["x"]', '{"x": null}', '{"x": []}', '{"x": {"bytes": "7", "sha256": "x"}}', "{",
     '{"x": {"bytes": 7}}', '{"x": {"bytes": true, "sha256": "x"}}', "[" * 100_000],
)  # fmt: skip
def test_digests_that_are_none_are_damage(write: Callable[[str], Path], tmp_path: Path, text: str):
    run = tmp_path / "run"
    fieldengine.train(write("{type: image, path: PHOTO}"), out=run)
    (run / "data.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=r"data\.json: is damaged: .*Remove it"):
        fieldengine.load(run).evaluate()
    (run / "data.json").unlink()
    assert fieldengine.load(run).evaluate()


def test_data_without_files_have_nothing_to_remember(scene: Callable[[str], Path], tmp_path: Path):
    text = "dataset: {type: procedural, views: 2, test_views: 1, size: 8}\ntraining: {steps: 1}\n"
    fieldengine.train(scene(text), out=tmp_path / "run")
    assert not (tmp_path / "run" / "data.json").exists()
    assert fieldengine.load(tmp_path / "run").evaluate()


def test_files_are_named_below_the_folder_that_they_share(tmp_path: Path):
    for name in ("a/x", "a/b/y"):
        folder_of((tmp_path / name).parent)
        (tmp_path / name).write_text(name, encoding="utf-8")
    before = digests([tmp_path / "a/x", tmp_path / "a/b/y"])
    assert set(before) == {"x", "b/y"}
    (tmp_path / "a/x").write_text("a/z", encoding="utf-8")
    (tmp_path / "a/b/y").rename(tmp_path / "a/b/w")
    now = digests([tmp_path / "a/x", tmp_path / "a/b/w"])
    assert changes(before, now) == ["b/w is new", "b/y is gone", "x holds other bytes"]
    assert changes(now, now) == []
