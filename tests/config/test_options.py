"""A frozen dataclass is the schema of a block: filling it, refusing what does not fit, describing it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from fieldengine.config.describe import describe
from fieldengine.config.document import Origin, from_python, parse_override
from fieldengine.config.keys import Key, keys
from fieldengine.config.parse import Reading, parse, parse_plugin
from fieldengine.config.scene import Blocks, Evaluation, Schedule, Training
from fieldengine.config.schema import json_schema
from fieldengine.errors import SceneError
from fieldengine.kinds.encoding import EncodingOptions
from fieldengine.kinds.kind import Slot
from fieldengine.plugins.registry import Plugin, Registry

INSTALLED = [plugin for plugin in Registry() if plugin.distribution == "fieldengine"]
BLOCKS = [Blocks, Training, Schedule, Evaluation]
Corner = tuple[float, float, float]


@dataclass(frozen=True)
class Inner:
    """A nested block."""

    low: float = 0.0
    """lower end"""
    high: float = 1.0
    """upper end"""

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")


@dataclass(frozen=True)
class Sample:
    """One key of each sort."""

    path: Path
    """where the data is"""
    count: Annotated[int, Field(ge=1)] = 3
    """how many,
    over two lines"""
    rate: Annotated[float, Field(gt=0)] | None = None
    """share"""
    exact: bool = False
    """no rounding"""
    mode: Literal["fast", "slow"] = "fast"
    """how"""
    size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """tile"""
    steps: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5,)
    """where"""
    corner: Corner = (0.0, 0.0, 0.0)
    """place"""
    inner: Inner = Inner()
    """nested"""
    encoding: Annotated[EncodingOptions, Slot("identity")] = None
    """a plugin"""


def filled(values: dict[str, Any], base: Path = Path("/base")) -> tuple[Sample, dict[str, Any]]:
    return parse(Sample, from_python({"path": "x", **values}, Origin(base=base)), "block", Reading(Registry()))


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(SceneError) as caught:
        filled(values)
    assert caught.value.exit_code == 2
    return str(caught.value)


def one(cls: type[Any], name: str) -> Key:
    return next(key for key in keys(cls) if key.name == name)


# -------------------------------------------------------------------------------------------------------- what a key is


@pytest.mark.parametrize("plugin", INSTALLED, ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_every_key_of_every_plugin_has_a_line_about_it(plugin: Plugin):
    for key in keys(plugin.load()):
        assert key.doc, f"{plugin.kind}/{plugin.name}: {key.name} has no docstring line below it"
        assert "\n" not in key.doc


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_every_key_of_the_engines_own_blocks_has_a_line_about_it(block: type[Any]):
    assert all(key.doc for key in keys(block))


@pytest.mark.parametrize("plugin", INSTALLED, ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_every_plugin_says_in_its_first_line_what_it_is(plugin: Plugin):
    first = (plugin.load().__doc__ or "").strip().partition("\n")[0]
    assert first.endswith("."), f"{plugin.kind}/{plugin.name}: the docstring begins with a sentence of one line"


@pytest.mark.parametrize("plugin", INSTALLED, ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_the_defaults_of_every_plugin_pass_its_own_checks(plugin: Plugin):
    needed = [key for key in keys(plugin.load()) if key.required]
    required = {key.name: Registry().names(key.slot.kind.group)[-1:] if key.many else "somewhere" for key in needed}
    node = from_python({"type": plugin.name, **required}, Origin(base=Path("/base")))
    _, plain = parse_plugin(plugin.kind, node, "", Reading(Registry()))
    written = from_python(json.loads(json.dumps(plain)), Origin(base=Path("/elsewhere")))
    assert parse_plugin(plugin.kind, written, "", Reading(Registry()))[1] == plain


def test_a_docstring_over_several_lines_becomes_one():
    assert one(Sample, "count").doc == "how many, over two lines"


def test_lines_about_inherited_keys_are_found():
    @dataclass(frozen=True)
    class Child(Inner):
        extra: int = 0
        """one more"""

    assert {key.name: key.doc for key in keys(Child)} == {"low": "lower end", "high": "upper end", "extra": "one more"}


def test_a_class_made_at_run_time_has_keys_without_lines():
    made = make_dataclass("Made", [("x", int, 3)], frozen=True)
    assert [(key.name, key.default, key.doc) for key in keys(made)] == [("x", 3, "")]


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (Path, "path"),
        (str, "text"),
        (bool, "bool"),
        (Annotated[int, Field(gt=0)], "int > 0"),
        (Annotated[float, Field(ge=0, lt=1)], "float >= 0 < 1"),
        (Annotated[int, Field(ge=1)] | Literal["auto"], "int >= 1 | auto"),
        (float | None, "float | null"),
        (Literal["a", "b"], "a | b"),
        (Literal[1, 2], "1 | 2"),
        (tuple[float, ...], "[float, ...]"),
        (Corner, "[float, float, float]"),
        (tuple[Corner, Corner], "[[float, float, float], [float, float, float]]"),
    ],
)
def test_a_type_is_described_as_a_user_reads_it(annotation: Any, text: str):
    assert describe(annotation) == text


def test_a_key_is_required_exactly_where_it_has_no_default_of_its_own_or_of_its_plugin():
    assert [key.name for key in keys(Sample) if key.required] == ["path"]
    assert [key.name for key in keys(Blocks) if key.required] == ["dataset", "field", "renderer"]


# ---------------------------------------------------------------------------------------------------- filling a block


def test_defaults_fill_what_is_not_written():
    sample, plain = filled({})
    assert (sample.count, sample.rate, sample.size, sample.steps, sample.inner) == (3, None, "auto", (0.5,), Inner())
    assert plain == {
        "path": "/base/x", "count": 3, "rate": None, "exact": False, "mode": "fast", "size": "auto", "steps": [0.5],
        "corner": [0.0, 0.0, 0.0], "inner": {"low": 0.0, "high": 1.0}, "encoding": {"type": "identity"},
    }  # fmt: skip


def test_a_whole_number_serves_as_a_float_and_a_list_as_a_tuple():
    sample, plain = filled({"rate": 2, "corner": [1, 2, 3], "steps": []})
    assert (sample.rate, sample.corner, sample.steps) == (2.0, (1.0, 2.0, 3.0), ())
    assert isinstance(sample.rate, float)
    assert json.loads(json.dumps(plain)) == plain


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 1.0}, {"count": "3"}, {"count": True}, {"count": None}, {"rate": "0.5"}, {"rate": True}, {"exact": 1},
        {"exact": "true"}, {"mode": None}, {"path": 3}, {"path": None}, {"corner": 3}, {"corner": "abc"},
        {"inner": None}, {"inner": 3}, {"encoding": 3}, {"encoding": None}, {"steps": 0.5}, {"size": "3"},
    ],
    ids=str,
)  # fmt: skip
def test_nothing_is_converted_that_was_written_as_another_type(wrong: dict[str, Any]):
    assert f"block.{next(iter(wrong))}" in refusal(wrong)


@pytest.mark.parametrize(
    ("values", "accepted"),
    [({"count": 1}, True), ({"count": 0}, False), ({"rate": 1e-30}, True), ({"rate": 0}, False)],
    ids=str,
)
def test_a_limit_lies_exactly_where_it_is_written(values: dict[str, Any], accepted: bool):
    if accepted:
        filled(values)
    else:
        refusal(values)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["rate", "steps", "corner"])
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(key: str, bad: float):
    text = refusal({key: bad if key == "rate" else [bad, 0.5, 0.5]})
    assert text.startswith(f"block.{key}: expected ")
    assert "finite" in text


def test_a_relative_path_is_resolved_against_the_file_that_names_it():
    assert filled({"path": "a/b.png"}, Path("/scenes"))[0].path == Path("/scenes/a/b.png")
    assert filled({"path": "/a/b.png"}, Path("/scenes"))[0].path == Path("/a/b.png")
    assert filled({"path": "~/b.png"}, Path("/scenes"))[0].path == Path.home() / "b.png"


def test_a_check_over_several_keys_names_the_block_and_its_place():
    assert refusal({"inner": {"low": 2.0}}) == "block.inner: low (2.0) must be below high (1.0)"


def test_a_key_that_does_not_exist_is_answered_with_those_that_do():
    assert refusal({"inner": {"lwo": 2.0}}) == 'block.inner.lwo: no such key. Keys here: low, high. Did you mean "low"?'


def test_a_missing_key_is_named_with_what_it_is_for():
    with pytest.raises(SceneError) as caught:
        parse(Sample, from_python({}, Origin(base=Path())), "block", Reading(Registry()))
    assert str(caught.value) == "block: needs the key `path`: where the data is"


@pytest.mark.parametrize("key", ["inner", "encoding"])
def test_a_list_where_a_block_belongs_is_shown_as_it_was_written(key: str):
    text = refusal({key: [1, {"a": None}]})
    assert text.endswith('found [1, {"a": null}]')
    assert "Node(" not in text


# ------------------------------------------------------------------------------------------------------------- plugins


def test_a_bare_name_stands_for_a_block_with_that_type():
    assert (
        filled({"encoding": "frequency"})[1]["encoding"] == filled({"encoding": {"type": "frequency"}})[1]["encoding"]
    )


def test_a_block_without_a_type_sets_keys_of_the_default_plugin():
    @dataclass(frozen=True)
    class Holder:
        encoding: Annotated[EncodingOptions, Slot("fourier")] = None

    node = from_python({"encoding": {"sigma": 3}}, Origin(base=Path()))
    _, plain = parse(Holder, node, "", Reading(Registry()))
    assert plain == {"encoding": {"type": "fourier", "n_features": 256, "sigma": 3.0}}


def test_parsing_notes_every_plugin_it_used():
    reading = Reading(Registry())
    node = from_python({"path": "x", "encoding": {"type": "frequency"}}, Origin(base=Path()))
    parse(Sample, node, "", reading)
    assert [(plugin.kind, plugin.name) for plugin in reading.used] == [("encodings", "frequency")]


def test_a_message_from_an_override_names_the_override():
    key, node = parse_override("count=many")
    tree = from_python({"path": "x"}, Origin(base=Path()))
    tree.value[key] = node
    with pytest.raises(SceneError) as caught:
        parse(Sample, tree, "", Reading(Registry()))
    assert str(caught.value) == 'override "count=many": count: expected a valid integer, found "many"'
    assert (caught.value.file, caught.value.line, caught.value.key) == (None, None, "count")


# ---------------------------------------------------------------------------------------------------------- the schema


def test_the_schema_of_a_block_has_type_range_default_and_line_of_each_key():
    schema = json_schema(Sample, Registry())
    assert list(schema["properties"]) == [key.name for key in keys(Sample)]
    assert schema["properties"]["count"] == {
        "type": "integer", "minimum": 1, "default": 3, "description": "how many, over two lines"
    }  # fmt: skip
    assert (schema["required"], schema["additionalProperties"]) == (["path"], False)
    assert schema["properties"]["inner"]["properties"]["low"]["description"] == "lower end"
    json.dumps(schema, allow_nan=False)
