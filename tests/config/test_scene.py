"""Scene file and overrides become a checked scene; whatever is wrong is said with file, line, key and remedy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from fieldengine.config import document
from fieldengine.config.keys import keys
from fieldengine.config.scene import (
    Blocks,
    Evaluation,
    Schedule,
    Training,
    check_scene,
    differences,
    read_scene,
    scene_schema,
)
from fieldengine.errors import SceneError
from fieldengine.metrics.psnr import Psnr
from fieldengine.metrics.ssim import Ssim
from fieldengine.plugins.registry import Plugin, Registry

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "scenes").glob("*.yaml"))
IMAGE = "dataset: {type: image, path: a.png}\n"
Write = Callable[..., Path]


def names(cls: type[Any]) -> str:
    return ", ".join(key.name for key in keys(cls))


def installed(kind: str) -> str:
    return ", ".join(Registry().names(kind))


def refusal(path: Path, overrides: Any = ()) -> SceneError:
    with pytest.raises(SceneError) as caught:
        read_scene(path, overrides)
    assert caught.value.exit_code == 2
    return caught.value


@dataclasses.dataclass(frozen=True)
class Nudge:
    """A hook that is only named here."""

    share: float = 0.5
    """how much"""

    def build(self) -> Nudge:
        return self


class WithNudge(Registry):
    """What is installed here, and the hook above."""

    def find(self, kind: str, name: str) -> Plugin:
        if (kind, name) == ("hooks", "nudge"):
            point = EntryPoint("nudge", f"{__name__}:Nudge", "fieldengine.hooks")
            return Plugin("hooks", "nudge", "tests", "1.0", point)
        return super().find(kind, name)


# ------------------------------------------------------------------------------------------------------------ messages

# Text of the file, line of the complaint, key, message. They are snapshots: who changes a wording changes it here.
IN_THE_FILE: dict[str, tuple[str, int | None, str, str]] = {
    "misspelt block": (
        f"{IMAGE}trainig: {{steps: 3}}\n", 2, "trainig",
        'no such key. Keys here: dataset, field, renderer, operator, training, evaluation. Did you mean "training"?',
    ),
    "misspelt key": (
        f"{IMAGE}training:\n  schedule:\n    decay: cosine\n    finl: 0.1\n", 5, "training.schedule.finl",
        f'no such key. Keys here: {names(Schedule)}. Did you mean "final"?',
    ),
    "key unlike any other": (
        f"{IMAGE}evaluation:\n  xyz: 1\n", 3, "evaluation.xyz", f"no such key. Keys here: {names(Evaluation)}.",
    ),
    "misspelt key of a plugin": (
        "dataset:\n  type: image\n  path: a.png\n  downscal: 2\n", 4, "dataset.downscal",
        'no such key. Keys here: path, crop, value_range, downscale, grid, background, mask. Did you mean "downscale"?',
    ),
    "text for a number": (
        f"{IMAGE}training:\n  steps: many\n", 3, "training.steps", 'expected a valid integer, found "many"',
    ),
    "fraction for a whole number": (
        f"{IMAGE}training:\n  steps: 1.5\n", 3, "training.steps", "expected a valid integer, found 1.5",
    ),
    "truth for a number": (
        f"{IMAGE}training:\n  steps: true\n", 3, "training.steps", "expected a valid integer, found true",
    ),
    "number for truth": (
        "dataset:\n  type: procedural\n  random_background: 1\n", 3, "dataset.random_background",
        "expected true or false, found 1",
    ),
    "block for a number": (
        f"{IMAGE}training:\n  steps: {{a: 1}}\n", 3, "training.steps", 'expected a valid integer, found {"a": 1}',
    ),
    "number for a block": (
        f"{IMAGE}evaluation: 5\n", 2, "evaluation", f"expected a block of keys ({names(Evaluation)}), found 5",
    ),
    "nothing for a block": (
        f"{IMAGE}evaluation:\n", 2, "evaluation", f"expected a block of keys ({names(Evaluation)}), found null",
    ),
    "below the range": (
        f"{IMAGE}training:\n  steps: 0\n", 3, "training.steps", "expected greater than or equal to 1, found 0",
    ),
    "outside an open range": (
        f"{IMAGE}training:\n  lr: -1\n", 3, "training.lr", "expected greater than 0, found -1",
    ),
    "above the range": (
        f"{IMAGE}training:\n  ema: 1\n", 3, "training.ema", "expected less than 1, found 1",
    ),
    "out of range in a list": (
        f"{IMAGE}training:\n  schedule:\n    milestones: [0.5, 1.5]\n", 4, "training.schedule.milestones",
        "expected less than 1 (item 1), found [0.5, 1.5]",
    ),
    "neither number nor word": (
        f"{IMAGE}training:\n  batch_size: 0\n", 3, "training.batch_size",
        "expected greater than or equal to 1, or full, found 0",
    ),
    "a choice that is none": (
        f"{IMAGE}training:\n  loss: 3\n", 3, "training.loss", "expected one of mse, l1, smooth_l1, relative, found 3",
    ),
    "not a multiple": (
        f"{IMAGE}field:\n  encoding:\n    type: fourier\n    n_features: 3\n", 5, "field.encoding.n_features",
        "expected a multiple of 2, found 3",
    ),
    "keys that contradict each other": (
        f"{IMAGE}field:\n  encoding: {{type: hash_grid, finest: 4}}\n", 3, "field.encoding",
        "finest (4) is below coarsest (16)",
    ),
    "not a number": (
        f"{IMAGE}training:\n  lr: .nan\n", 3, "training.lr", "expected a finite number, found nan",
    ),
    "infinite": (
        f"{IMAGE}training:\n  max_seconds: .inf\n", 3, "training.max_seconds", "expected a finite number, found inf",
    ),
    "unknown plugin": (
        f"{IMAGE}field:\n  activation: {{type: finner}}\n", 3, "field.activation.type",
        f'no activation "finner". Installed: {installed("activations")}. Did you mean "finer"?',
    ),
    "unknown plugin by bare name": (
        f"{IMAGE}field:\n  encoding: hashgrid\n", 3, "field.encoding.type",
        f'no encoding "hashgrid". Installed: {installed("encodings")}. Did you mean "hash_grid"?',
    ),
    "unknown data set": (
        "dataset:\n  type: imgae\n  path: a.png\n", 2, "dataset.type",
        f'no dataset "imgae". Installed: {installed("datasets")}. Did you mean "image"?',
    ),
    "unknown hook": (
        f"{IMAGE}training:\n  hooks:\n    - type: zzz\n", 4, "training.hooks.0.type",
        f'no hook "zzz". Installed: {installed("hooks") or "none"}.',
    ),
    "no type": (
        "dataset:\n  path: a.png\n", 1, "dataset", f"needs the key `type`. Installed: {installed('datasets')}",
    ),
    "a type that is no name": (
        "dataset: {type: 3}\n", 1, "dataset.type", f"expected a name, found 3. Installed: {installed('datasets')}",
    ),
    "a number for a plugin": ("dataset: 5\n", 1, "dataset", "expected a block with a `type`, found 5"),
    "a missing key": ("\ndataset:\n  type: image\n", 2, "dataset", "needs the key `path`: the image file"),
    "no data set": (
        "training: {steps: 3}\n", None, "",
        f"needs a block `dataset: {{type: image, path: photo.png}}`. Types installed: {installed('datasets')}",
    ),
    "the same key twice": (
        f"{IMAGE}training:\n  steps: 3\n  steps: 4\n", 4, "",
        'is not valid YAML: found duplicate key "steps" with value "4" (original value: "3")',
    ),
    "an open bracket": (
        "dataset: {type: image, path: a.png\ntraining: 3\n", 2, "",
        "is not valid YAML: expected ',' or '}', but got ':'",
    ),
    "a tab": (
        "dataset:\n\ttype: image\n", 2, "", r"is not valid YAML: found character '\t' that cannot start any token",
    ),
    "two documents": (f"{IMAGE}---\n{IMAGE}", 2, "", "is not valid YAML: but found another document"),
    "an unknown alias": ("dataset: *x\n", 1, "", "is not valid YAML: found undefined alias 'x'"),
    "a key that is no word": (f"{IMAGE}3: 4\n", 2, "", "key 3 is not a word"),
    "a list": ("- a\n- b\n", None, "", "is not a mapping of keys. A scene starts with `dataset:`"),
    "plain text": ("hello\n", None, "", "is not a mapping of keys. A scene starts with `dataset:`"),
    "an empty file": ("", None, "", "is empty. A scene needs at least a dataset block"),
    "only a comment": ("# nothing\n", None, "", "is empty. A scene needs at least a dataset block"),
}  # fmt: skip

IN_AN_OVERRIDE: dict[str, tuple[str, str, str]] = {
    "misspelt key": (
        "evaluation.evry=3", "evaluation.evry", f'no such key. Keys here: {names(Evaluation)}. Did you mean "every"?',
    ),
    "wrong type": ("training.steps=abc", "training.steps", 'expected a valid integer, found "abc"'),
    "out of range": ("training.steps=0", "training.steps", "expected greater than or equal to 1, found 0"),
    "not finite": ("training.lr=.nan", "training.lr", "expected a finite number, found nan"),
    "a key of a number": ("training.steps.a=3", "training.steps", 'expected a valid integer, found {"a": 3}'),
    "unknown plugin": (
        "field.activation=sirem", "field.activation.type",
        f'no activation "sirem". Installed: {installed("activations")}. Did you mean "siren"?',
    ),
    "no value": ("training.steps", "", "is not KEY=VALUE, such as training.steps=500"),
    "broken YAML": (
        "training.hooks=[{type: a}", "",
        "is not valid YAML: expected ',' or ']', but got '<stream end>'; put the whole of KEY=VALUE into quotes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_THE_FILE)
def test_what_is_wrong_in_a_file_is_said_with_line_key_and_remedy(name: str, scene: Write):
    text, line, key, message = IN_THE_FILE[name]
    path = scene(text)
    error = refusal(path)
    place = f"{path}:{line}" if line else str(path)
    assert str(error) == ": ".join(part for part in (place, key, message) if part)
    assert (error.file, error.line, error.key) == (path, line, key)


@pytest.mark.parametrize("name", IN_AN_OVERRIDE)
def test_what_is_wrong_in_an_override_is_said_with_the_override(name: str, scene: Write):
    override, key, message = IN_AN_OVERRIDE[name]
    error = refusal(scene(IMAGE), [override])
    assert str(error) == ": ".join(part for part in (f'override "{override}"', key, message) if part)
    assert (error.file, error.line, error.key) == (None, None, key)


def test_a_missing_file_is_answered_with_the_scenes_beside_it(scene: Write, tmp_path: Path):
    scene(IMAGE, "mine.yaml")
    scene(IMAGE, "other.yaml")
    error = refusal(tmp_path / "mien.yaml")
    assert str(error) == (f"{tmp_path / 'mien.yaml'}: no such file. In {tmp_path} there are: mine.yaml, other.yaml.")
    assert str(refusal(tmp_path / "none" / "x.yaml")) == f"{tmp_path / 'none' / 'x.yaml'}: no such file."


def test_a_folder_and_a_binary_file_are_no_scenes(tmp_path: Path):
    assert str(refusal(tmp_path)) == f"{tmp_path}: is a folder. Name a scene file (.yaml)"
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    assert str(refusal(binary)) == f"{binary}: is not text in UTF-8. Name a scene file (.yaml)"


def test_aliases_that_expand_without_end_are_refused(scene: Write):
    rows = [f"{k}: &{k} [{', '.join([f'*{j}'] * 10)}]\n" for j, k in ["ab", "bc", "cd", "de", "ef"]]
    error = refusal(scene("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(rows) + "dataset: *f\n"))
    assert "expands to more than 20000 values or 20 levels; a scene is far smaller" in str(error)


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 5000, "a: " + "{b: " * 5000, "- " * 5000 + "x", "? " * 5000, "[" * 30 + "]" * 30]
)
def test_text_that_nests_without_end_is_refused_before_it_takes_time(text: str, scene: Write):
    assert "nests blocks and lists more than 20 deep" in str(refusal(scene(text + "\n")))


@pytest.mark.parametrize("number", ["9" * 400, "0x" + "f" * 5000, "-" + "9" * 4000])
def test_a_number_too_long_to_print_is_refused(number: str, scene: Write):
    assert "bits; the most is 1024" in str(refusal(scene(f"{IMAGE}training: {{steps: {number}}}\n")))


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        (f"{IMAGE}training: {{loss: smoothl1}}\n", "smooth_l1"),
        (f"{IMAGE}training: {{schedule: {{decay: exponental}}}}\n", "exponential"),
        (f"{IMAGE}evaluation: {{splits: [tset]}}\n", "test"),
        (f"{IMAGE}evaluation: {{metrics: [psnr, ms_sim]}}\n", "ms_ssim"),
        (f"{IMAGE}training: {{batch_size: ful}}\n", "full"),
        (f"{IMAGE}training: {{tile: auot}}\n", "auto"),
        ("dataset: {type: image, path: a.png, background: whit}\n", "white"),
    ],
    ids=lambda value: value if len(value) < 15 else "",
)
def test_a_misspelt_choice_is_answered_with_the_nearest_one_last(text: str, suggestion: str, scene: Write):
    message = str(refusal(scene(text)))
    assert message.endswith(f'Did you mean "{suggestion}"?')


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("dataset: [1]\n", id="list for a plugin"),
        pytest.param(f"{IMAGE}training: {{hooks: 3}}\n", id="number for a list"),
        pytest.param(f"{IMAGE}training: [1]\n", id="list for a block"),
        pytest.param("dataset: {type: [image], path: a.png}\n", id="list for a name"),
        pytest.param("dataset: {type: image, path: a.png, background: [1, 1]}\n", id="two of three numbers"),
        pytest.param("dataset: {type: image, path: a.png, background: 1}\n", id="number for a colour"),
    ],
)
def test_what_was_found_is_shown_in_the_words_of_the_file_alone(text: str, scene: Write):
    message = str(refusal(scene(text)))
    for foreign in ("Node(", "Origin(", "Field required", "input", "PosixPath"):
        assert foreign not in message


@pytest.mark.parametrize("hooks", ["[nint]", "nint", "{type: nint}", "[{type: nint}]"])
def test_one_hook_may_stand_alone(hooks: str, scene: Write):
    config = read_scene(scene(f"{IMAGE}training: {{hooks: {hooks}}}\n"))
    assert [block["type"] for block in config.plain["training"]["hooks"]] == ["nint"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{IMAGE}training: {{hooks: [{{typ: nint}}]}}\n", 'needs the key `type`. Did you mean "type"? Installed: '),
        (f"{IMAGE}training: {{hooks: {{nint: {{}}}}}}\n", "needs the key `type`. Write `{type: nint, ...}`. Installed"),
        (f"{IMAGE}steps: 5\n", 'Did you mean "training.steps"?'),
        (f"{IMAGE}training: {{warmup: 5}}\n", 'Did you mean "training.schedule.warmup"?'),
        ("dataset: {type: image, path: a.png, mask: 0.5}\n", "mask: expected path | null, or a block of keys (random,"),
        ("dataset: {type: image, path: a.png, mask: {rows: [1, 2, 3]}}\n", "at most 2 values"),
        ("scene: a.yaml\ngrid: {}\n", "is a sweep, not a scene: run it by `fieldengine sweep`"),
    ],
)
def test_what_belongs_elsewhere_is_said_with_where(text: str, said: str, scene: Write):
    assert said in str(refusal(scene(text)))


def test_an_override_of_an_item_of_a_list_that_the_scene_does_not_write_is_understood_as_an_item(scene: Write):
    error = refusal(scene(IMAGE), ["training.schedule.milestones.7=0.2"])
    assert error.key.startswith("training.schedule.milestones")
    assert '{"7"' not in str(error)


# ----------------------------------------------------------------------------------------------------------- overrides


def test_overrides_set_nested_keys_items_of_lists_and_whole_blocks(scene: Write):
    path = scene(f"{IMAGE}training:\n  steps: 5\n  schedule: {{decay: milestones, milestones: [0.2, 0.4]}}\n")
    found = read_scene(
        path,
        [
            "training.steps=7", "training.schedule.milestones.1=0.6", "training.schedule.warmup=2",
            "evaluation={every: 3, splits: [train, test]}", "field.activation={type: siren, omega: 9}",
            "training.batch_size=full",
        ],
    )  # fmt: skip
    assert (found.training.steps, found.training.batch_size) == (7, "full")
    assert found.training.schedule == Schedule("milestones", 0.1, (0.2, 0.6), 2)
    assert found.evaluation == Evaluation(every=3, splits=("train", "test"), metrics=(Psnr(), Ssim()))
    assert found.plain["field"]["activation"]["omega"] == 9.0


def test_a_block_given_by_an_override_replaces_the_whole_block_of_the_file(scene: Write):
    path = scene(f"{IMAGE}field: {{type: signal, encoding: {{type: fourier, sigma: 5}}, width: 32}}\n")
    assert read_scene(path, ["field.width=16"]).plain["field"]["encoding"]["sigma"] == 5.0
    assert read_scene(path, ["field={encoding: fourier}"]).plain["field"]["encoding"]["sigma"] == 10.0
    assert read_scene(path, ["field={encoding: fourier}"]).plain["field"]["width"] != 32


def test_later_overrides_win(scene: Write):
    assert read_scene(scene(IMAGE), ["training.steps=1", "training.steps=2"]).training.steps == 2


def test_hooks_are_set_as_a_list_and_changed_by_number(scene: Write):
    path = scene(IMAGE)
    two = ["training.hooks=[{type: nudge}, nudge]", "training.hooks.1={type: nudge, share: 0.25}"]
    found = read_scene(path, [*two, "training.hooks.0.share=0.75"], WithNudge())
    assert found.training.hooks == (Nudge(0.75), Nudge(0.25))
    assert found.plain["training"]["hooks"] == [{"type": "nudge", "share": 0.75}, {"type": "nudge", "share": 0.25}]
    assert [(plugin.kind, plugin.name) for plugin in found.plugins].count(("hooks", "nudge")) == 1
    assert read_scene(path, ["training.hooks=[]"], WithNudge()).training.hooks == ()


def test_a_python_mapping_says_the_same_as_override_texts(scene: Write, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = scene(IMAGE)
    texts = ["training.steps=7", "dataset.background=[1, 0.5, 0]", "dataset.path=b.png", "evaluation.max_views=null"]
    values = {
        "training.steps": 7, "dataset.background": (1, 0.5, 0), "dataset.path": Path("b.png"),
        "evaluation.max_views": None,
    }  # fmt: skip
    assert read_scene(path, values).plain == read_scene(path, texts).plain
    assert read_scene(path, {"evaluation": {"every": 4}}).evaluation.every == 4


def test_a_wrong_python_value_is_answered_as_an_override(scene: Write):
    error = refusal(scene(IMAGE), {"training.lr": float("nan")})
    assert str(error) == 'override "training.lr=nan": training.lr: expected a finite number, found nan'
    assert refusal(scene(IMAGE), {"training.steps": object()}).key == "training.steps"


@pytest.mark.parametrize("key", ["", "training..steps", "training.", ".steps"])
def test_a_python_key_that_is_none_is_answered_in_words(key: str, scene: Write):
    refusal(scene(IMAGE), {key: 3})


# --------------------------------------------------------------------------------------------------------------- paths


def test_a_path_is_relative_to_the_file_that_names_it_and_an_overrides_path_to_the_working_directory(
    tmp_path: Path, monkeypatch
):
    scenes, here = tmp_path / "scenes", tmp_path / "here"
    scenes.mkdir()
    here.mkdir()
    (scenes / "s.yaml").write_text("dataset: {type: image, path: ../photos/a.png}\n", encoding="utf-8")
    monkeypatch.chdir(here)
    path = Path("../scenes/s.yaml")
    assert read_scene(path).dataset.path.resolve() == tmp_path / "photos" / "a.png"
    for overrides in (["dataset.path=b.png"], ["dataset={type: image, path: b.png}"], {"dataset.path": "b.png"}):
        assert read_scene(path, overrides).dataset.path.resolve() == here / "b.png"
        assert read_scene(path, overrides).plain["dataset"]["path"] == str(here / "b.png")


@pytest.mark.parametrize(
    "name",
    ["photo #1.png", "0001", "1e3", "true", "my: photo.png", "[a].png", "{a}.png", "@x.png", "*.png", "!x", "'q'.png",
     "%41.png", "a=b.png", " x.png", "- x", "café 图.png", "x: [", "null.png", "a\tb.png", "a\u0085b.png",
     "?true", "~nobody-here.png", ": :-", "a\u2028b", "[red]x[/b].png"],
)  # fmt: skip
def test_an_override_of_a_path_is_taken_as_it_was_typed(name: str, scene: Write, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = read_scene(scene(IMAGE), [f"dataset.path={name}"])
    assert found.plain["dataset"]["path"] == str(tmp_path / name)
    written = tmp_path / "again.yaml"
    written.write_text(document.write(found.plain), encoding="utf-8")
    assert read_scene(written).plain == found.plain
    if name == "my: photo.png":
        return  # where a block may stand, this is one
    assert read_scene(scene(IMAGE), [f"dataset.mask={name}"]).plain["dataset"]["mask"]["file"] == str(tmp_path / name)


def test_an_override_may_still_give_a_block_or_null_where_a_path_may_stand(scene: Write):
    assert read_scene(scene(IMAGE), ["dataset.mask={random: 0.5}"]).plain["dataset"]["mask"]["random"] == 0.5
    assert read_scene(scene(IMAGE), ["dataset.mask.file=null"]).plain["dataset"]["mask"]["file"] is None


def test_a_file_name_that_no_system_has_room_for_is_refused(scene: Write):
    assert "a name of a file has at most 255 bytes" in str(refusal(scene(IMAGE), [f"dataset.path={'x' * 300}"]))


def test_a_file_name_that_is_not_utf8_is_refused_in_one_sentence(scene: Write):
    with pytest.raises(SceneError, match="another encoding than UTF-8; rename the file"):
        read_scene(scene(IMAGE), ["dataset.path=caf\udce9.png"])


def test_the_written_path_is_absolute_so_that_a_run_is_found_from_anywhere(tmp_path: Path, monkeypatch):
    (tmp_path / "s.yaml").write_text(IMAGE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert read_scene(Path("s.yaml")).plain["dataset"]["path"] == str(tmp_path / "a.png")


# ------------------------------------------------------------------------------------------------------------ defaults


@pytest.mark.parametrize(
    ("dataset", "field", "renderer"),
    [
        ("{type: image, path: a}", "signal", "direct"),
        ("{type: mesh, path: a}", "surface", "direct"),
        ("{type: blender, path: a}", "radiance", "volume"),
        ("procedural", "radiance", "volume"),
    ],
)
def test_field_and_renderer_follow_the_data_where_the_scene_does_not_name_them(
    dataset: str, field: str, renderer: str, scene: Write
):
    plain = read_scene(scene(f"dataset: {dataset}\nfield: {{width: 8}}\n")).plain
    assert (plain["field"]["type"], plain["renderer"]["type"], plain["field"]["width"]) == (field, renderer, 8)


def test_a_scene_may_name_another_field_than_the_usual_one(scene: Write):
    assert read_scene(scene(f"{IMAGE}field: surface\n")).plain["field"]["type"] == "surface"


def unwritten(cls: type[Any], plain: Mapping[str, Any]) -> set[str]:
    return {key.name for key in keys(cls)} ^ {name for name in plain if name != "type"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_default_is_written_out(path: Path):
    found = read_scene(path)
    assert not unwritten(Blocks, found.plain)
    assert not unwritten(Training, found.plain["training"])
    assert not unwritten(Schedule, found.plain["training"]["schedule"])
    assert not unwritten(Evaluation, found.plain["evaluation"])
    for block in ("dataset", "field", "renderer", "operator"):
        assert not unwritten(type(getattr(found, block).options), found.plain[block])
    assert not unwritten(type(found.field.activation.options), found.plain["field"]["activation"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scene_is_under_thirty_lines(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 30


@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(path.read_text(encoding="utf-8"), id=path.stem) for path in SHIPPED),
        pytest.param("dataset: procedural\n", id="procedural"),
        pytest.param(f"{IMAGE}training: {{lr: 1e-05, clip: 1.0e+22, seed: 9223372036854775807}}\n", id="numbers"),
        pytest.param("dataset: {type: image, path: 'x: [y] #z é \"q\".png', background: [0, 1, 0.5]}\n", id="a path"),
    ],
)
def test_a_written_scene_reads_back_as_the_same_scene(text: str, scene: Write, tmp_path: Path):
    first = read_scene(scene(text))
    written = tmp_path / "elsewhere" / "scene.yaml"
    written.parent.mkdir()
    written.write_text(document.write(first.plain), encoding="utf-8")
    second = check_scene(document.read(written), "scene", Registry())
    assert second.plain == first.plain
    parts = ("dataset", "field", "renderer", "training", "evaluation")
    assert [getattr(second, part) for part in parts] == [getattr(first, part) for part in parts]


def test_the_scenes_name_is_that_of_its_file_and_its_plugins_are_listed(scene: Write):
    text = f"{IMAGE}field: {{encoding: fourier, activation: siren}}\n"
    found = read_scene(scene(text, "lunch.break.yaml"))
    assert found.name == "lunch.break"
    used = {(plugin.kind, plugin.name, plugin.distribution) for plugin in found.plugins}
    assert used == {
        ("parameterizations", "plain", "fieldengine"),
        ("datasets", "image", "fieldengine"), ("fields", "signal", "fieldengine"),
        ("encodings", "fourier", "fieldengine"), ("activations", "siren", "fieldengine"),
        ("renderers", "direct", "fieldengine"), ("operators", "identity", "fieldengine"),
        ("metrics", "psnr", "fieldengine"), ("metrics", "ssim", "fieldengine"),
    }  # fmt: skip


def test_reading_a_scene_leaves_global_randomness_alone(scene: Write):
    before = torch.random.get_rng_state()
    read_scene(scene(IMAGE))
    assert torch.equal(before, torch.random.get_rng_state())


def test_differences_are_the_keys_whose_values_changed_and_nothing_else(scene: Write):
    path = scene(f"{IMAGE}field: {{encoding: identity}}\n")
    a, b = read_scene(path), read_scene(path, ["training.lr=0.5", "field.encoding={type: fourier, sigma: 2}"])
    assert differences(a.plain, a.plain) == {}
    assert differences(a.plain, b.plain) == {
        "training.lr": (1e-3, 0.5),
        "field.encoding.type": ("identity", "fourier"),
        "field.encoding.sigma": (None, 2.0),
        "field.encoding.n_features": (None, 256),
    }


# -------------------------------------------------------------------------------------------------------------- schema


def complaints(value: Any, schema: Mapping[str, Any], where: str = "") -> list[str]:
    """What the parts of JSON Schema that a scene's schema uses find wrong with a value."""
    if "anyOf" in schema:
        tries = [complaints(value, option, where) for option in schema["anyOf"]]
        return [] if any(not found for found in tries) else [f"{where}: fits none of {len(tries)}"]
    if "const" in schema or "enum" in schema:
        allowed = schema.get("enum", [schema.get("const")])
        return [] if value in allowed else [f"{where}: {value!r} is not in {allowed}"]
    kinds = {
        "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int,
        "number": int | float,
    }  # fmt: skip
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{where}: {value!r} is no {kind}"]
    found = []
    if isinstance(value, dict):
        known = schema["properties"]
        found += [f"{where}: needs {name}" for name in schema.get("required", []) if name not in value]
        if not schema.get("additionalProperties"):
            found += [f"{where}: no key {name}" for name in value if name not in known]
        for name in value.keys() & known.keys():
            found += complaints(value[name], known[name], f"{where}.{name}")
    if isinstance(value, list):
        for i, item in enumerate(value):
            found += complaints(item, schema.get("items") or schema["prefixItems"][i], f"{where}.{i}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        inside = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        strictly = schema.get("exclusiveMinimum", value - 1) < value < schema.get("exclusiveMaximum", value + 1)
        found += [] if inside and strictly else [f"{where}: {value} is out of range"]
    return found


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return scene_schema(Registry())


def test_the_schema_is_json_and_asks_for_a_data_set_alone(schema: Mapping[str, Any]):
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema
    assert (schema["required"], schema["additionalProperties"]) == (["dataset"], False)
    assert list(schema["properties"]) == [key.name for key in keys(Blocks)]


@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(path.read_text(encoding="utf-8"), id=path.stem) for path in SHIPPED),
        pytest.param("dataset: procedural\ntraining: {batch_size: full}\n", id="bare names"),
        pytest.param(f"{IMAGE}field: {{width: 16}}\n", id="field without a type"),
        pytest.param("dataset: procedural\nfield: {encoding: {n_levels: 4}}\n", id="encoding without a type"),
        pytest.param("dataset: {type: image, path: a, background: [0, 0.5, 1]}\n", id="a colour"),
    ],
)
def test_the_schema_accepts_what_the_engine_accepts(text: str, scene: Write, schema: Mapping[str, Any]):
    path = scene(text)
    found = read_scene(path)
    assert complaints(document.read(path).plain(), schema) == []
    assert complaints(found.plain, schema) == []


@pytest.mark.parametrize(
    "name",
    [
        "misspelt block", "misspelt key", "misspelt key of a plugin", "text for a number", "truth for a number",
        "number for a block", "below the range", "outside an open range", "above the range", "out of range in a list",
        "a choice that is none", "unknown plugin", "unknown data set", "no type", "no data set",
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_engine_refuses(name: str, scene: Write, schema: Mapping[str, Any]):
    assert complaints(document.read(scene(IN_THE_FILE[name][0])).plain(), schema)
