"""YAML with a memory: the line of each key, overrides, limits, and text that reads back as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldengine.config import document
from fieldengine.config.document import MAX_BYTES, MAX_NODES, Node, Origin
from fieldengine.errors import SceneError

TEXT = """\
dataset: {type: image, path: photo.png}

training:
  steps: 3
  schedule: {final: 0.5,
    decay: cosine}
  hooks:
    - type: a
      weight: 1
    - b
"""
LINES = {
    "dataset": 1, "dataset.type": 1, "dataset.path": 1, "training": 3, "training.steps": 4, "training.schedule": 5,
    "training.schedule.final": 5, "training.schedule.decay": 6, "training.hooks": 7, "training.hooks.0": 8,
    "training.hooks.0.type": 8, "training.hooks.0.weight": 9, "training.hooks.1": 10,
}  # fmt: skip

names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8)
paths = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=30).map("/".__add__)
tricky = st.sampled_from(
    ["", " a ", "null", "~", "true", "yes", "12", "1e-5", "0x1", "- a", "a: b", "# a", "*a", "{a}"]
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
trees = st.recursive(
    st.none() | st.booleans() | numbers | paths | tricky,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def lines(node: Node, prefix: str = "") -> dict[str, int | None]:
    children = node.value.items() if isinstance(node.value, dict) else enumerate(node.value)
    found = {}
    for key, child in children:
        found[f"{prefix}{key}"] = child.origin.line
        if isinstance(child.value, dict | list):
            found |= lines(child, f"{prefix}{key}.")
    return found


def tree(text: str, tmp_path: Path) -> Node:
    path = tmp_path / "tree.yaml"
    path.write_text(text, encoding="utf-8")
    return document.read(path)


def changed(text: str, override: str, tmp_path: Path) -> object:
    return document.override(tree(text, tmp_path), *document.parse_override(override)).plain()


def test_every_key_and_item_knows_its_file_and_line(tmp_path: Path):
    read = tree(TEXT, tmp_path)
    assert lines(read) == LINES
    assert read.value["training"].value["steps"].origin.file == tmp_path / "tree.yaml"
    assert str(read.value["training"].value["steps"].origin) == f"{tmp_path / 'tree.yaml'}:4"


def test_a_key_merged_from_an_anchor_has_the_line_of_the_block_it_is_merged_into(tmp_path: Path):
    read = tree("first: &a {x: 1}\nsecond:\n  <<: *a\n  y: 2\n", tmp_path)
    assert read.plain() == {"first": {"x": 1}, "second": {"x": 1, "y": 2}}
    assert lines(read)["second.x"] == 2


def test_values_are_plain_python_of_the_type_that_was_written(tmp_path: Path):
    text = "a: 1\nb: 1.0e-2\nc: 1e-2\nd: yes\ne: true\nf: '3'\ng:\nh: [1, x]\ni: 0x10\nj: no\n"
    plain = tree(text, tmp_path).plain()
    assert plain == {
        "a": 1, "b": 0.01, "c": 0.01, "d": "yes", "e": True, "f": "3", "g": None, "h": [1, "x"], "i": 16, "j": "no",
    }  # fmt: skip
    kinds = [int, float, float, str, bool, str, type(None), list, int, str]
    assert [type(value) for value in plain.values()] == kinds


@pytest.mark.parametrize(
    "text", ["?true", ": :-", "??*---", "?!", "a\u0085b", " x ", "-", "- a", "x:", "a #b", "\u2028", "''"]
)
def test_any_text_reads_back_as_it_was_wherever_it_stands(text: str, tmp_path: Path):
    path = tmp_path / "written.yaml"
    for plain in ({"a": text}, {"a": [text, 1]}, {"a": {"b": text}}):
        path.write_text(document.write(plain), encoding="utf-8")
        assert document.read(path).plain() == plain


@settings(deadline=None, max_examples=60)
@given(plain=st.dictionaries(names, trees, min_size=1, max_size=4))
def test_what_is_written_reads_back_the_same(plain: dict, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(document.write(plain), encoding="utf-8")
    assert document.read(path).plain() == plain


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a.b=2", {"a": {"b": 2}, "l": [1, {"x": 2}]}),
        ("a={c: 3, d: [4]}", {"a": {"c": 3, "d": [4]}, "l": [1, {"x": 2}]}),
        ("n.e.w=x", {"a": {"b": 1}, "l": [1, {"x": 2}], "n": {"e": {"w": "x"}}}),
        ("l.0=9", {"a": {"b": 1}, "l": [9, {"x": 2}]}),
        ("l.1.x=[3]", {"a": {"b": 1}, "l": [1, {"x": [3]}]}),
        ("l=[]", {"a": {"b": 1}, "l": []}),
        ("a.b.c=5", {"a": {"b": {"c": 5}}, "l": [1, {"x": 2}]}),
        ("a.b=", {"a": {"b": ""}, "l": [1, {"x": 2}]}),
        ("a.b=null", {"a": {"b": None}, "l": [1, {"x": 2}]}),
        ("a.b=x=y", {"a": {"b": "x=y"}, "l": [1, {"x": 2}]}),
    ],
)
def test_an_override_replaces_exactly_what_it_names(override: str, expected: object, tmp_path: Path):
    assert changed("a: {b: 1}\nl: [1, {x: 2}]\n", override, tmp_path) == expected


def test_an_override_leaves_the_tree_it_was_given_as_it_was(tmp_path: Path):
    before = tree("a: {b: 1}\nl: [1]\n", tmp_path)
    document.override(before, *document.parse_override("a.b=2"))
    document.override(before, *document.parse_override("l.0=2"))
    assert before.plain() == {"a": {"b": 1}, "l": [1]}


def test_an_overridden_value_remembers_the_override_and_its_neighbours_the_file(tmp_path: Path):
    after = document.override(tree("a:\n  b: 1\n  c: 2\n", tmp_path), *document.parse_override("a.b=7"))
    b, c = after.value["a"].value["b"].origin, after.value["a"].value["c"].origin
    assert (str(b), b.base, b.file) == ('override "a.b=7"', Path(), None)
    assert (c.line, c.base) == (3, tmp_path)


@pytest.mark.parametrize("text", ["steps", "=3", "a..b=3", ".a=3", "a.=3", ""])
def test_an_override_that_is_not_key_equals_value_is_refused_in_words(text: str):
    with pytest.raises(SceneError) as caught:
        document.parse_override(text)
    place = f'override "{text}": ' if text else ""
    assert str(caught.value) == f"{place}is not KEY=VALUE, such as training.steps=500"


@pytest.mark.parametrize("number", ["3", "-1", "x"])
def test_an_override_beyond_a_list_names_the_whole_key_and_the_length(number: str, tmp_path: Path):
    with pytest.raises(SceneError) as caught:
        changed("a: {l: [1, 2]}\n", f"a.l.{number}=5", tmp_path)
    assert caught.value.key == f"a.l.{number}"
    assert str(caught.value) == (
        f'override "a.l.{number}=5": a.l.{number}: "{number}" is not the number of an item; the list has 2 (from 0)'
    )


def test_python_values_become_the_same_nodes_as_their_yaml(tmp_path: Path):
    plain = {"a": [1, 2.5, {"b": None}], "c": (True, "x"), "p": Path("photo.png")}
    node = document.from_python(plain, Origin(base=tmp_path))
    assert node.plain() == {"a": [1, 2.5, {"b": None}], "c": [True, "x"], "p": "photo.png"}


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{k}: &{k} [{', '.join([f'*{j}'] * 10)}]\n" for j, k in ["ab", "bc", "cd", "de", "ef"]),
        "a: " + "[" * 25 + "]" * 25,
        "a: " + "[" * 500 + "]" * 500,
        "a: " + "{b: " * 60 + "1" + "}" * 60,
    ],
    ids=["alias bomb", "deep list", "very deep list", "deep blocks"],
)
def test_a_file_that_expands_without_end_is_refused(text: str, tmp_path: Path):
    with pytest.raises(SceneError) as caught:
        tree(text, tmp_path)
    assert str(tmp_path / "tree.yaml") in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_list_that_contains_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(SceneError, match="expands to more than"):
        document.from_python(loop, Origin(base=Path(), override="a=..."))


def test_as_many_values_as_a_scene_may_have_are_taken_and_one_more_is_refused():
    origin = Origin(base=Path(), override="a=...")
    assert len(document.from_python([0] * (MAX_NODES - 1), origin).value) == MAX_NODES - 1
    with pytest.raises(SceneError, match="expands to more than"):
        document.from_python([0] * MAX_NODES, origin)


def test_a_huge_file_is_refused_unread(tmp_path: Path):
    path = tmp_path / "huge.yaml"
    path.write_text("#" * (MAX_BYTES + 1), encoding="utf-8")
    with pytest.raises(SceneError, match=f"holds {MAX_BYTES + 1} bytes; a scene file has at most {MAX_BYTES}"):
        document.read(path)


def test_a_tag_of_another_language_makes_no_object(tmp_path: Path):
    target = tmp_path / "made"
    read = tree(f"a: !!python/object/apply:pathlib.Path.touch ['{target}']\n", tmp_path)
    assert isinstance(read.value["a"].plain(), list | str)
    assert not target.exists()


def test_walk_gives_every_scalar_with_its_dotted_key():
    plain = {"a": {"b": 1, "c": [1, 2]}, "l": [{"x": 1}, {"x": [3]}], "e": []}
    found = dict(document.walk(plain))
    assert found == {"a.b": 1, "a.c": [1, 2], "l.0.x": 1, "l.1.x": [3], "e": []}
