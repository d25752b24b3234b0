"""Plugins by real entry points: found when named, refused with distribution, version and reason, chosen by name."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import fieldengine
from fieldengine.cli import main
from fieldengine.config.scene import read_scene, scene_schema
from fieldengine.errors import FieldEngineError, PluginError, SceneError, TrainingError
from fieldengine.plugins.registry import KINDS, Registry

HEAD = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn
"""
GOOD = f"""{HEAD}
@dataclass(frozen=True)
class Gain:
    \"\"\"Coordinates times a factor.\"\"\"
    factor: float = 2.0
    \"\"\"the factor\"\"\"

    def build(self, in_dim):
        return GainModule(in_dim, self.factor)

class GainModule(nn.Module):
    def __init__(self, in_dim, factor):
        super().__init__()
        self.out_dim, self.factor = in_dim, factor

    def forward(self, x):
        return self.factor * x
"""
Install = Callable[..., Path]


@pytest.fixture
def install(install: Callable[..., None], tmp_path: Path) -> Install:
    """`install` by distribution; returns the folder on sys.path that it lies in."""

    def lay(name: str, entries: Mapping[str, Mapping[str, str]], code: str = "", version: str = "1.0") -> Path:
        plugins = {f"{kind}/{plugin}": cls for kind, found in entries.items() for plugin, cls in found.items()}
        install(code, plugins, name=name, version=version, module=f"{name}_module")
        return tmp_path / "site"

    return lay


@pytest.fixture
def tiny(scene: Callable[[str], Path], photo: Path) -> Path:
    return scene(
        "dataset: {type: image, path: photo.png}\n"
        "field: {width: 8, depth: 1, encoding: identity, activation: relu}\n"
        "training: {steps: 4, batch_size: 32, log_every: 1}\n"
    )


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(FieldEngineError) as caught:
        read_scene(path, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


# --------------------------------------------------------------------------------------------------- what is installed


def test_the_engines_own_plugins_are_found_by_the_entry_points_of_its_distribution():
    own = {(plugin.kind, plugin.name) for plugin in Registry() if plugin.distribution == "fieldengine"}
    assert {
        ("encodings", "hash_grid"), ("activations", "finer"), ("fields", "signal"), ("datasets", "image"),
        ("exporters", "mesh"), ("renderers", "volume"), ("ray_samplers", "occupancy"),
    } <= own  # fmt: skip


@pytest.mark.parametrize(
    "plugin",
    [plugin for plugin in Registry() if plugin.distribution == "fieldengine"],
    ids=lambda plugin: f"{plugin.kind}-{plugin.name}",
)
def test_every_plugin_of_the_engine_loads(plugin):
    cls = plugin.load()
    assert all(callable(getattr(cls, name)) for name in KINDS[plugin.kind].verbs)


def test_a_name_that_is_not_installed_is_answered_with_those_that_are():
    registry = Registry()
    with pytest.raises(PluginError) as caught:
        registry.find("encodings", "hash_gird")
    listing = ", ".join(registry.names("encodings"))
    assert str(caught.value) == f'no encoding "hash_gird". Installed: {listing}. Did you mean "hash_grid"?'


def test_looking_plugins_up_imports_none_of_them(install: Install):
    install("quiet", {"encodings": {"quiet": "Gain"}}, "raise RuntimeError('imported')")
    assert "quiet" in Registry().names("encodings")
    assert Registry().find("encodings", "quiet").distribution == "quiet"
    assert "quiet_module" not in sys.modules


# ---------------------------------------------------------------------------------------------------------- a good one


def test_a_strangers_encoding_is_used_from_a_scene_like_our_own(install: Install, tiny: Path, tmp_path: Path):
    install("stranger", {"encodings": {"gain": "Gain"}}, GOOD, "2.5")
    run = fieldengine.train(tiny, ["field.encoding={type: gain, factor: 3}"], out=tmp_path / "run")
    assert run.field.encoding.factor == 3.0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert {"kind": "encodings", "name": "gain", "distribution": "stranger", "version": "2.5"} in summary["plugins"]
    assert fieldengine.load(tmp_path / "run").field.encoding.factor == 3.0
    message = refusal(tiny, "field.encoding={type: gain, factr: 3}")
    assert message.endswith('field.encoding.factr: no such key. Keys here: factor. Did you mean "factor"?')


def test_a_strangers_plugin_appears_in_the_schema(install: Install):
    install("stranger", {"encodings": {"gain": "Gain"}}, GOOD)
    assert '"description": "the factor"' in json.dumps(scene_schema(Registry()))


def test_a_newer_copy_further_back_on_the_path_is_shadowed_as_for_imports(
    install: Install, monkeypatch, tmp_path: Path
):
    install("stranger", {"encodings": {"gain": "Gain"}}, GOOD, "1.0")
    info = tmp_path / "behind" / "stranger-9.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Stranger\nVersion: 9.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[fieldengine.encodings]\ngain = stranger_module:Gain\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "behind")])
    assert Registry().find("encodings", "gain").version == "1.0"


# ------------------------------------------------------------------------------------------------------------- bad ones

BAD = f"""{HEAD}
class Plain:
    def build(self, in_dim): ...

@dataclass
class Thawed:
    def build(self, in_dim): ...

@dataclass(frozen=True)
class Idle:
    pass

@dataclass(frozen=True)
class Future:
    api_version = 99
    def build(self, in_dim): ...

@dataclass(frozen=True)
class Unknown:
    key: Undefined = 3
    def build(self, in_dim): ...

@dataclass(frozen=True)
class Unready:
    def build(self, context): ...

def function(): ...
"""
REASONS = {
    ("encodings", "Plain"): "bad_module:Plain is not a dataclass; a plugin is a frozen dataclass of its options",
    ("encodings", "function"): "bad_module:function is not a dataclass; a plugin is a frozen dataclass of its options",
    ("encodings", "Thawed"): "bad_module:Thawed is not frozen; write @dataclass(frozen=True)",
    ("encodings", "Idle"): "bad_module:Idle has no build(), which encodings need",
    ("activations", "Idle"): "bad_module:Idle has no hidden and no output(), which activations need",
    ("encodings", "Future"): "asks for plugin API 99; this fieldengine knows 1. Install a matching pair",
    ("encodings", "Absent"): "cannot be loaded: AttributeError: module 'bad_module' has no attribute 'Absent'",
}


@pytest.mark.parametrize(("kind", "value"), REASONS, ids=lambda value: value)
def test_a_plugin_that_is_not_one_is_refused_with_distribution_version_and_reason(
    kind: str, value: str, install: Install, tiny: Path
):
    install("bad", {kind: {"odd": value}}, BAD, "0.3")
    with pytest.raises(PluginError) as caught:
        Registry().find(kind, "odd").load()
    error = caught.value
    assert (error.distribution, error.version, error.reason) == ("bad", "0.3", REASONS[kind, value])
    key = f"field.{kind.removesuffix('s')}"
    assert refusal(tiny, f"{key}=odd") == (
        f'override "{key}=odd": {key}.type: {kind} plugin "odd" of bad 0.3: {REASONS[kind, value]}'
    )


@pytest.mark.parametrize("code", ["raise RuntimeError('no luck')", "import nowhere_to_be_found", "raise SystemExit(3)"])
def test_a_module_that_fails_on_import_costs_only_the_scenes_that_name_it(code: str, install: Install, tiny: Path):
    install("bad", {"encodings": {"odd": "Odd"}}, code, "0.3")
    assert read_scene(tiny).plain["field"]["encoding"] == {"type": "identity"}
    assert 'encodings plugin "odd" of bad 0.3: cannot be loaded: ' in refusal(tiny, "field.encoding=odd")
    assert "odd" in json.dumps(scene_schema(Registry()))


def test_a_plugin_whose_annotations_cannot_be_read_costs_only_the_scenes_that_name_it(install: Install, tiny: Path):
    install("bad", {"encodings": {"odd": "Unknown"}}, BAD, "0.3")
    read_scene(tiny)
    scene_schema(Registry())
    message = refusal(tiny, "field.encoding=odd")
    assert "bad 0.3" in message
    assert "Undefined" in message


def test_a_data_set_that_names_no_default_field_is_refused_by_name(install: Install, tiny: Path):
    install("bad", {"datasets": {"odd": "Unready"}}, BAD, "0.3")
    message = refusal(tiny, "dataset=odd")
    assert "bad 0.3" in message
    assert "default_field" in message


@pytest.mark.parametrize("command", [["plugins", "list"], ["doctor"]], ids=" ".join)
def test_the_list_of_plugins_and_the_doctor_show_what_is_broken_and_go_on(
    command: list[str], install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    install("bad", {"encodings": {"odd": "Odd"}}, "raise RuntimeError('needs [extra], see [/there]')", "0.3")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["fieldengine", *command])
    with pytest.raises(SystemExit) as left:
        main()
    shown, complaint = capsys.readouterr()
    assert (left.value.code, complaint) == (0, "")
    (line,) = [line for line in shown.splitlines() if "needs [extra], see [/there]" in line]
    assert all(word in line for word in ("encodings", "odd", "bad", "0.3"))
    if command == ["plugins", "list"]:
        assert line.split()[:5] == ["encodings", "odd", "bad", "0.3", "broken:"]
        assert any(line.split()[:2] == ["encodings", "hash_grid"] for line in shown.splitlines())
    else:
        assert "1 broken" in shown


def test_leftovers_of_an_uninstalled_distribution_cost_nothing(install: Install, tiny: Path):
    site = install("stranger", {"encodings": {"gain": "Gain"}}, GOOD)
    (site / "~tranger-1.0.dist-info").mkdir()
    (site / "torn-1.0.dist-info").mkdir()
    (site / "torn-1.0.dist-info" / "entry_points.txt").write_text("no section\n]][[\n", encoding="utf-8")
    assert read_scene(tiny, ["field.encoding=gain"]).field.encoding.factor == 2.0


# ------------------------------------------------------------------------------------------------- failures while used

FAILING = f"""{HEAD}
@dataclass(frozen=True)
class Late:
    calls: int = 3
    \"\"\"how often it works\"\"\"
    def build(self, in_dim):
        return LateModule(in_dim, self.calls)

class LateModule(nn.Module):
    def __init__(self, in_dim, calls):
        super().__init__()
        self.out_dim, self.left = in_dim, calls

    def forward(self, x):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("ran out of luck")
        return x

@dataclass(frozen=True)
class Silent:
    def build(self):
        return object()

@dataclass(frozen=True)
class Greedy:
    def build(self, banana):
        return object()

@dataclass(frozen=True)
class Spanless:
    def build(self):
        return self
    def prepare(self, step, field, batch):
        return None
    def adjust(self, cotangent, batch, rendered, rows):
        return cotangent

@dataclass(frozen=True)
class Wide(Spanless):
    span = "tiles"

@dataclass(frozen=True)
class Careless:
    def build(self):
        return self
    def select(self, step, n, scores):
        return vars(self)["key"]
"""


def test_a_hook_that_fails_in_training_is_named_and_what_it_did(install: Install, tiny: Path, tmp_path: Path):
    install("bad", {"hooks": {"odd": "Careless"}}, FAILING)
    with pytest.raises(TrainingError) as caught:
        fieldengine.train(tiny, ["training.hooks=[odd]"], out=tmp_path / "run")
    said = str(caught.value)
    assert said.startswith("hooks plugin \"odd\" of bad 1.0: failed in select with KeyError: 'key' (")
    assert re.search(r"bad_module\.py:\d+\)$", said), "where"


def test_a_plugin_that_fails_in_training_leaves_a_run_folder_that_says_why(
    install: Install, tiny: Path, tmp_path: Path
):
    install("bad", {"encodings": {"late": "Late"}}, FAILING)
    with pytest.raises(Exception, match="ran out of luck"):
        fieldengine.train(tiny, ["field.encoding={type: late, calls: 3}"], out=tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["status"] == "failed"
    assert "ran out of luck" in summary["reason"]


def test_a_plugin_that_fails_before_training_leaves_no_empty_run_folder(install: Install, tiny: Path, tmp_path: Path):
    install("bad", {"encodings": {"late": "Late"}}, FAILING)
    with pytest.raises(Exception, match="ran out of luck"):
        fieldengine.train(tiny, ["field.encoding={type: late, calls: 0}"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "Silent",
            "object offers nothing that the engine asks for: select (BatchSampler); adjust, prepare, span "
            "(GradientTransform); penalty, points (Regularizer)",
        ),
        ("Spanless", "Spanless has no span, which a GradientTransform needs"),
        ("Wide", 'expected span to be "item", "tile" or "batch", found \'tiles\''),
        ("Greedy", "Greedy.build asks for banana; the engine offers field, domain, n_items, steps, context"),
    ],
)
def test_a_hook_that_does_not_fit_is_refused_before_training(
    value: str, message: str, install: Install, tiny: Path, tmp_path: Path
):
    install("bad", {"hooks": {"odd": value}}, FAILING)
    with pytest.raises(FieldEngineError) as caught:
        fieldengine.train(tiny, ["training.hooks=[odd]"], out=tmp_path / "run")
    assert str(caught.value).endswith(message)
    assert "bad 1.0" in str(caught.value)
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------ one name, two owners


def test_two_distributions_with_one_name_are_both_named_and_one_is_chosen_by_its_own(install: Install, tiny: Path):
    install("left", {"encodings": {"gain": "Gain"}}, GOOD, "1.0")
    install("right", {"encodings": {"gain": "Gain"}}, GOOD.replace("2.0", "5.0"), "3.1")
    with pytest.raises(SceneError) as caught:
        read_scene(tiny, ["field.encoding=gain"])
    message = str(caught.value)
    assert 'encoding "gain" is claimed by ' in message
    assert "left 1.0" in message
    assert "right 3.1" in message
    assert ':gain" to choose, or uninstall one' in message
    for owner, factor in (("left", 2.0), ("right", 5.0), ("Right", 5.0)):
        found = read_scene(tiny, [f"field.encoding={owner}:gain"])
        assert found.field.encoding.factor == factor
        assert found.plain["field"]["encoding"]["type"] == f"{owner}:gain"


def test_a_stranger_that_claims_a_defaults_name_does_not_harm_scenes_that_leave_it_to_us(install: Install, tiny: Path):
    before = read_scene(tiny, ["field={}"]).plain["field"]
    install("left", {"encodings": {"hash_grid": "Gain"}, "fields": {"signal": "Gain"}}, GOOD)
    after = read_scene(tiny, ["field={}"])
    assert after.plain["field"] == {
        **before,
        "type": "fieldengine:signal",
        "encoding": {**before["encoding"], "type": "fieldengine:hash_grid"},
    }
    assert {plugin.distribution for plugin in after.plugins} == {"fieldengine"}
    assert "is claimed by " in refusal(tiny, "field.encoding=hash_grid")


def test_an_owner_that_does_not_offer_the_name_is_refused(install: Install, tiny: Path):
    install("left", {"encodings": {"gain": "Gain"}}, GOOD)
    assert 'no encoding "nobody:gain"' in refusal(tiny, "field.encoding=nobody:gain")


def test_our_own_plugin_is_still_chosen_by_its_owner_when_a_stranger_claims_its_name(install: Install, tiny: Path):
    install("left", {"encodings": {"fourier": "Gain"}}, GOOD)
    assert "fieldengine" in refusal(tiny, "field.encoding=fourier")
    assert read_scene(tiny, ["field.encoding=fieldengine:fourier"]).field.encoding.n_features == 256


# ------------------------------------------------------------------------------------------------------- switching off


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("1", set()), ("true", set()), ("all", set()), ("first", {"second"}), ("First, second", set()),
        ("", {"first", "second"}), ("other", {"first", "second"}), ("fieldengine", {"first", "second"}),
    ],
)  # fmt: skip
def test_third_parties_are_switched_off_by_name_or_all_at_once(value: str, left: set[str], install, monkeypatch):
    install("first", {"encodings": {"one": "Gain"}}, GOOD)
    install("second", {"encodings": {"two": "Gain"}}, GOOD)
    monkeypatch.setenv("FIELDENGINE_DISABLE_PLUGINS", value)
    owners = {plugin.distribution for plugin in Registry()}
    assert owners & {"first", "second"} == left
    assert "fieldengine" in owners


def test_a_plugin_that_is_switched_off_is_not_there(install: Install, tiny: Path, monkeypatch):
    install("first", {"encodings": {"gain": "Gain"}}, GOOD)
    monkeypatch.setenv("FIELDENGINE_DISABLE_PLUGINS", "1")
    said = refusal(tiny, "field.encoding=gain")
    assert 'no encoding "gain". Installed: ' in said
    assert said.endswith("first has it, but is left out by FIELDENGINE_DISABLE_PLUGINS.")
    assert "left out" not in refusal(tiny, "field.encoding=loss")
