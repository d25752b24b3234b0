"""Whatever is wrong with a stranger's plugin is said in its name: what was expected, what was found, file and line.

Before training where it can be known then: exit code 2, and no run folder stays behind. In training the exit code is
1, and the run folder says why. None of it is called a bug of the engine; what goes wrong in the engine itself is.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

import fieldengine
from fieldengine.cli import main
from fieldengine.errors import FieldEngineError, PluginError, RunError, SceneError, TrainingError
from fieldengine.fields.signal import SignalNetwork
from fieldengine.plugins.registry import KINDS
from fieldengine.training import step as training_steps
from tests.strangers import Install

BROKEN = Path(__file__).with_name("broken_plugins.py")
SMALL = {"width": 8, "depth": 1, "encoding": "identity", "activation": "relu"}
SCENES: dict[str, dict[str, Any]] = {
    "image": {"dataset": {"type": "image", "path": "photo.png"}, "field": SMALL},
    "views": {
        "dataset": {"type": "procedural", "views": 2, "test_views": 1, "size": 8},
        "field": {**SMALL, "color_depth": 1},
        "renderer": {"sampler": {"type": "stratified", "n_samples": 4}},
    },
}
TRAINING = {"steps": 4, "batch_size": 32, "tile": 32, "log_every": 1}
WHERE = r" \(.*bad_module\.py:\d+\)"  # in the stranger's own code
PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "datasets": lambda name: {"dataset": name},
    "cameras": lambda name: {"dataset": {"type": "photographs", "lens": name}},
    "operators": lambda name: {"operator": name},
    "fields": lambda name: {"field": {"type": name}},
    "encodings": lambda name: {"field.encoding": name},
    "activations": lambda name: {"field.activation": name},
    "parameterizations": lambda name: {"field.parameterization": name},
    "renderers": lambda name: {"renderer": {"type": name}},
    "ray_samplers": lambda name: {"renderer.sampler": {"type": name}},
    "hooks": lambda name: {"training.hooks": [name]},
    "metrics": lambda name: {"evaluation.metrics": [name]},
}


@dataclass(frozen=True)
class Case:
    """A broken plugin in a scene, and what is said of it after its name."""

    kind: str
    cls: str
    said: str
    scene: str = "image"
    changes: dict[str, Any] = field(default_factory=dict)
    id: str = ""

    @property
    def name(self) -> str:
        return self.cls.lower()

    @property
    def overrides(self) -> dict[str, Any]:
        return self.changes or PLACES[self.kind](self.name)

    def __str__(self) -> str:
        return self.id or f"{KINDS[self.kind].word} {self.cls}"


def inside(encoding: dict[str, Any]) -> dict[str, Any]:
    return {"field.encoding": encoding}


CLASSES = [
    Case("encodings", "Thawed", "bad_module:Thawed is not frozen; write @dataclass"),
    Case("encodings", "Buildless", r"bad_module:Buildless has no build\(\), which encodings need"),
    Case("encodings", "Unreadable", "the types of Unreadable's keys cannot be read: .*Undefined"),
    Case("encodings", "Untyped", "the types of Untyped's keys cannot be read: .*Tensor"),
    Case("encodings", "Misdefault", "the default of Misdefault.key is not of its type: expected int, found 2.5"),
    Case("encodings", "Opaque", "the default of Opaque.key is not of its type: expected Any, found <object"),
    Case("encodings", "Factory", "the default of Factory.key cannot be made: KeyError: 'key'"),
    Case("encodings", "Typed", "Typed has a key called type"),
    Case("encodings", "Uninitialised", "failed in making its options with TypeError: .*'key'"),
    Case("encodings", "Postponed", f"failed in Postponed.__post_init__ with KeyError: 'key'{WHERE}"),
    Case(
        "encodings", "Validating", f"failed in strict with KeyError: 5{WHERE}",
        changes=inside({"type": "validating", "key": 5}),
    ),
    Case("encodings", "Greedy", "bad_module:Greedy: Greedy.build asks for banana; the engine offers in_dim"),
    Case("encodings", "Deaf", "bad_module:Deaf: Deaf.build does not take in_dim; the engine offers in_dim"),
    Case("encodings", "Positional", "Positional.build takes in_dim by position alone; the engine offers in_dim"),
    Case("activations", "FirstDeaf", "FirstDeaf.hidden does not take is_first; the engine offers in_dim, out_dim, is"),
    Case("activations", "Outless", r"bad_module:Outless has no output\(\), which activations need"),
    Case("parameterizations", "Layerless", "Layerless.apply does not take layers; the engine offers layers, width"),
    Case("ray_samplers", "Contextual", "Contextual.build asks for context; the engine offers aabb", "views"),
    Case("operators", "OperatorWants", "OperatorWants.build asks for field; the engine offers domain"),
    Case("datasets", "DataWants", "DataWants.build asks for folder; the engine offers context"),
    Case("datasets", "Homeless", 'names a default that is not there: no field "nothing_of_the_kind"'),
    Case("datasets", "Metrical", "bad_module:Metrical: expected default_metrics, a tuple of names.*found 'psnr'"),
    Case(
        "datasets", "Unmeasured", 'names a default that is not there: no metric "beauty"',
        changes={"dataset": "unmeasured", "evaluation": {}},
    ),
    Case("cameras", "Countless", "bad_module:Countless has no n_parameters, which cameras need"),
    Case("cameras", "Unprojecting", "Unprojecting.project does not take parameters; the engine offers points, param"),
    Case("hooks", "HookWants", "HookWants.build asks for banana; the engine offers field, domain, n_items, steps, con"),
    Case("metrics", "Needless", "bad_module:Needless has no needs and no higher_is_better, which metrics need"),
    Case("metrics", "Needy", 'bad_module:Needy: expected needs to be "image", "signal" or "surface", found \'sound\''),
    Case("metrics", "Masked", "Masked.score asks for mask; the engine offers values, target, comparison"),
]  # fmt: skip

BUILT = [
    Case("encodings", "RaisesType", f"failed in RaisesType.build with TypeError: .*{WHERE}"),
    Case("encodings", "RaisesKey", f"failed in RaisesKey.build with KeyError: 'key'{WHERE}"),
    Case("encodings", "RaisesAttribute", f"failed in RaisesAttribute.build with AttributeError: .*nothing.*{WHERE}"),
    Case("encodings", "RaisesZero", f"failed in RaisesZero.build with ZeroDivisionError: .*{WHERE}"),
    Case("encodings", "Leaving", f"failed in Leaving.build with SystemExit: 3{WHERE}"),
    Case("encodings", "ReturnsNone", "expected build to return a module with out_dim, found NoneType"),
    Case(
        "encodings", "ReturnsFunction",
        "expected build to return a module with out_dim, found builtin_function_or_method"
    ),
    Case("encodings", "Widthless", "expected Identity.out_dim, a whole number of columns; it has none"),
    Case("encodings", "WidthOfText", "expected Encoded.out_dim, a whole number of columns; it has '2'"),
    Case("encodings", "WrongWidth", r"expected float32 of shape \(3, 3\) .* returned float32 of shape \(3, 2\)"),
    Case("encodings", "Double", r"expected float32 of shape \(3, 2\) .* returned float64 of shape \(3, 2\)"),
    Case("encodings", "Listing", r"expected float32 of shape \(3, 2\) .* returned list"),
    Case("encodings", "Failing", f"failed in FailingModule.forward with KeyError: 'table'{WHERE}"),
    Case("encodings", "Levels", r"expected LevelsModule.level_columns, whole numbers .* 2 at most; found \(1, 'two'\)"),
    Case("encodings", "Fast", "expected FastModule.highest_frequency, a number; found str"),
    Case("encodings", "Advancing", r"with it the field \"signal\" fails.*AdvancingModule.advance\(done\), found .*"),
    Case("encodings", "Extra", "expected tensors in the state of ExtraModule; _extra_state is set"),
    Case(
        "encodings", "WrongWidth", r"expected float32 of shape \(3, 3\)",
        changes=inside({"type": "concat", "parts": ["identity", "wrongwidth"]}), id="encoding inside concat",
    ),
    Case(
        "encodings", "RaisesKey", f"failed in RaisesKey.build with KeyError: 'key'{WHERE}",
        changes=inside({"type": "concat", "parts": ["identity", {"type": "progressive", "encoding": "raiseskey"}]}),
        id="encoding inside progressive inside concat",
    ),
    Case(
        "encodings", "Failing", f"failed in FailingModule.forward with KeyError: 'table'{WHERE}",
        changes=inside({"type": "progressive", "encoding": "failing"}), id="encoding inside progressive",
    ),
    Case(
        "encodings", "Nesting", f"failed in Nesting.build with AttributeError: .*nothing.*{WHERE}",
        changes=inside({"type": "nesting", "inner": "identity"}), id="encoding that holds ours",
    ),
    Case(
        "encodings", "RaisesKey", f"failed in RaisesKey.build with KeyError: 'key'{WHERE}",
        changes=inside({"type": "nesting", "inner": "raiseskey"}), id="encoding inside a stranger's",
    ),
    Case(
        "encodings", "WrongWidth", r"expected float32 of shape \(3, 4\) .* \(3, 3\)", "views",
        changes={"field.direction_encoding": "wrongwidth"}, id="encoding of directions",
    ),
    Case("activations", "HiddenNone", "expected hidden to return a layer, found NoneType"),
    Case("activations", "HiddenRaises", f"failed in HiddenRaises.hidden with KeyError: 'layer'{WHERE}"),
    Case("activations", "HiddenWide", r"expected hidden\(2, 8, is_first=True\) .* returned float32 of shape \(3, 9\)"),
    Case(
        "activations", "HiddenWants", "failed in hidden with RuntimeError: mat1 and mat2 shapes",
        changes={"field.activation": "hiddenwants", "field.depth": 2},
    ),
    Case("activations", "OutputWide", r"expected output\(8, 3\) .* returned float32 of shape \(3, 4\)"),
    Case("activations", "OutputDouble", r"expected output\(8, 3\) .* returned float64 of shape \(3, 3\)"),
    Case("parameterizations", "Fewer", "expected apply to return 2 layers, each an nn.Module; found 1"),
    Case("parameterizations", "NoLayers", "expected apply to return 2 layers, found NoneType"),
    Case("parameterizations", "NotLayers", "expected apply to return 2 layers, .* found 2, among them builtin"),
    Case("parameterizations", "Widening", 'with it the field "signal" fails in build: .* RuntimeError: mat1'),
    Case("parameterizations", "ApplyRaises", f"failed in ApplyRaises.apply.* with AttributeError: .*{WHERE}"),
    Case("fields", "Offerless", r"Linear has none of values\(x\), density\(x\) with rgb\(...\), and sdf\(x\)"),
    Case("fields", "Parameterless", "ParameterlessModule has no parameters, so that there is nothing to train"),
    Case(
        "fields", "Narrow", r"expected values\(x\) to return float32 of shape \(3, 3\) for 3 places; found .*\(3, 2\)"
    ),
    Case("fields", "Half", r"expected values\(x\) to return float32 of shape \(3, 3\) for 3 places; found float16"),
    Case("fields", "Abrupt", f"failed in AbruptModule.values with ValueError: too many values.*{WHERE}"),
    Case("fields", "Lonely", r"expected density\(x\) to return a pair, .* found float32 of shape \(3,\)", "views"),
    Case(
        "fields", "Grey", r"expected rgb\(features, viewdirs\) to return float32 of shape \(3, 3\) .*\(3, 1\)", "views"
    ),
    Case("fields", "Normal", r"expected NormalModule.rgb\(features, viewdirs\), found .*'normals'", "views"),
    Case("renderers", "Renderless", r"RenderlessModule has no render and no max_batch and no update\(\), which"),
    Case("renderers", "Old", r"expected OldModule.render\(field, items, \*, back.*, generator\), found .*'generator'"),
    Case("renderers", "Unrendered", r"expected render\(.*\) to return Rendered, found float32 of shape \(4, 3\)"),
    Case("renderers", "Across", r"expected values \(4, c\) for 4 items, found float32 of shape \(3, 4\)"),
    Case("renderers", "Taken", 'a loss of the renderer is called "psnr_batch", as something else in metrics.jsonl is'),
    Case("renderers", "RenderRaises", f"failed in RenderRaisesModule.render with AttributeError: .*nothing.*{WHERE}"),
    Case("ray_samplers", "Sampleless", r"Identity has no sample and no losses and no max_batch", "views"),
    Case("ray_samplers", "Pair", r"expected sample\(rays, query, generator\) to return Samples, found tuple", "views"),
    Case("ray_samplers", "Descending", "expected ray_indices in ascending order from 0 to 2", "views"),
    Case("ray_samplers", "Update", r"expected UpdateModule.update\(query, step, generator\), found", "views"),
    Case("ray_samplers", "Losses", "expected a mapping from names to losses, found NoneType", "views"),
    Case(
        "ray_samplers", "SampleRaises", f"failed in SampleRaisesModule.sample with AttributeError: .*{WHERE}", "views"
    ),
    Case("cameras", "Flat", r"expected unproject to return directions \(1, 3\), found float32 of shape \(1, 2\)"),
    Case("cameras", "CameraRaises", f"failed in CameraRaises.unproject with KeyError: 'direction'{WHERE}"),
    Case("operators", "Placeless", "expected PlacelessOperator.n_places, at least 1 or None; found 'none'"),
    Case(
        "operators", "Halving",
        r"expected measure\(values, items\) to return measurements \(4, c\), found float32 of shape \(2, 3\)"
    ),
    Case("operators", "Text", r"expected measure\(values, items\) to return measurements \(4, c\), found str"),
    Case("operators", "Many", "expected 3 places for each of 4 items, as n_places says; found 4"),
    Case("operators", "PlacesRaises", f"failed in PlacesRaisesOperator.places with AttributeError: .*nothing.*{WHERE}"),
    Case("datasets", "DataRaises", f"failed in DataRaises.build with KeyError: 'file'{WHERE}"),
    Case("datasets", "DataNone", r"NoneType has no batch and no views and no notes\(\), which a data"),
    Case("datasets", "Domainless", "DomainlessData has no domain, which a data set needs"),
    Case("datasets", "Empty", "expected n_items, how many there are, at least 1; found 0"),
    Case("datasets", "Counted", r"expected n_items, how many there are, at least 1; found tensor\(96\)"),
    Case("datasets", "Long", r"expected targets of 1 items to be float32 of shape \(1, ...\), found .*\(2, 3\)"),
    Case("datasets", "Fixed", r"expected items.positions of 4 items to be .* \(4, ...\), found .*\(1, 2\)"),
    Case("datasets", "DoubleTargets", r"expected targets of 1 items to be float32 .* found float64"),
    Case("datasets", "Solid", "expected items.positions of 3 dimensions, as the domain's box has"),
    Case("datasets", "Pointless", r"expected a box of positive size on each axis, found \[-1.0, 1.0\] to"),
    Case("datasets", "Unseen", r"expected views\(split\) to return a sequence, found NoneType"),
    Case("datasets", "Cropped", r'the target of view "cropped", 8x12 pixels, to have shape \(96, 3\); .*\(90, 3\)'),
    Case("datasets", "ViewsRaise", f"failed in ViewsRaiseData.views with KeyError: 'test'{WHERE}"),
    Case("datasets", "Noted", r"expected notes\(\) to be a sequence of texts, found None"),
    Case("metrics", "Tensorial", r"expected score to return a number, found float32 of shape \(\)"),
    Case("metrics", "Worded", "expected score to return a number, found str"),
    Case("metrics", "ScoreRaises", f"failed in ScoreRaises.score with AttributeError: .*nothing.*{WHERE}"),
    Case("metrics", "ObstacleRaises", f"failed in ObstacleRaises.obstacle with KeyError: 3{WHERE}"),
    Case("hooks", "HookNone", r"NoneType offers nothing that the engine asks for: select \(BatchSampler\)"),
    Case("hooks", "HookRaises", f"failed in HookRaises.build with ZeroDivisionError: .*{WHERE}"),
    Case("hooks", "OldHook", r"expected OldUniform.select\(step, n, scores\), found"),
    Case("hooks", "Rowless", r"expected RowlessTransform.adjust\(cotangent, batch, rendered, rows\), found"),
    Case("hooks", "Wide", 'expected span to be "item", "tile" or "batch", found \'world\''),
    Case("hooks", "Everywhere", "expected points to be a Lattice .* found 'everywhere'"),
    Case("hooks", "HalfState", "HalfStateUniform has state_dict alone; a state is kept by"),
]  # fmt: skip

LATE = [
    Case("encodings", "Late", f"failed in LateModule.forward with RuntimeError: ran out of luck{WHERE}"),
    Case(
        "encodings", "Late", f"failed in LateModule.forward with RuntimeError: ran out of luck{WHERE}",
        changes=inside({"type": "concat", "parts": ["identity", "late"]}), id="encoding inside concat",
    ),
    Case("encodings", "Backwards", f"failed in BackwardsFunction.backward with KeyError: 'slope'{WHERE}"),
    Case("encodings", "Evaluated", f"failed in EvaluatedModule.forward with IndexError: .*{WHERE}"),
    Case("activations", "LateHidden", f"failed in LateLayer.forward with ZeroDivisionError: no more layers{WHERE}"),
    Case("fields", "LateField", f"failed in LateFieldModule.values with AttributeError: .*nothing.*{WHERE}"),
    Case("renderers", "LateRenderer", f"failed in LateRendererModule.update with KeyError: 'third step'{WHERE}"),
    Case("renderers", "LateBatch", r"expected max_batch\(32\) to return 1 to 32, found None"),
    Case(
        "ray_samplers", "LateSampler", f"failed in LateSamplerModule.sample with IndexError: .*{WHERE}", "views",
    ),
    Case("datasets", "LateImage", f"failed in Waves.batch with IndexError: .*{WHERE}"),
    Case("datasets", "Short", r"expected items.positions of 32 items to be float32 of shape \(32, ...\), found .*\(31"),
    Case("operators", "LateOperator", f"failed in LateOperatorWorking.measure with KeyError: 'scale'{WHERE}"),
    Case(
        "operators", "Shrinking",
        r"expected measure\(values, items\) to return measurements \(32, c\), found float32 of shape \(31, 3\)"
    ),
    Case("metrics", "LateScore", f"failed in LateScore.score with AttributeError: .*nothing.*{WHERE}"),
    Case("hooks", "LateHook", f"failed in select with KeyError: 2{WHERE}"),
    Case("hooks", "Far", "`select` returned items 384 to 415; there are 0 to 383"),
    Case("hooks", "Transposed", r"`adjust` returned float32 of shape \(3, 32\) for a cotangent float32 of shape \(32"),
    Case("hooks", "Numbered", "the penalty is float without gradient; expected a scalar tensor"),
    Case("hooks", "Stateful", r"expected state_dict\(\) to hold tensors, numbers and texts; seen is set"),
]  # fmt: skip

EXPORTERS = {
    "ExportNone": "expected write to return a sentence about the file, found NoneType",
    "ExportWants": "ExportWants.write asks for folder and does not take out; the engine offers trained, out",
    "ExportRaises": f"failed in ExportRaises.write with AttributeError: .*mesh.*{WHERE}",
}


@pytest.fixture(scope="module")
def folder(install_once: Install, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes to put broken plugins into; all of those are installed."""
    entries = {f"exporters/{cls.lower()}": cls for cls in (*EXPORTERS, "ExportRefuses")}
    entries |= {f"{case.kind}/{case.name}": case.cls for case in (*CLASSES, *BUILT, *LATE)}
    sound = {
        "encodings": ("Sound", "Large", "Refuses"), "datasets": ("Photographs", "Hexagonal"),
        "operators": ("Channel",), "hooks": ("Asking", "Unloadable"), "metrics": ("Keyed",),
    }  # fmt: skip
    entries |= {f"{kind}/{cls.lower()}": cls for kind, classes in sound.items() for cls in classes}
    entries["datasets/waves"] = "Image"
    install_once(BROKEN.read_text(encoding="utf-8"), entries, name="bad", version="0.3", module="bad_module")
    path = tmp_path_factory.mktemp("broken")
    y, x = np.mgrid[0:16, 0:24]
    iio.imwrite(path / "photo.png", np.stack([9 * x, 14 * y, (5 * x * y) % 256], axis=-1).astype(np.uint8))
    for name, blocks in SCENES.items():
        scene = {**blocks, "training": TRAINING, "evaluation": {"metrics": ["psnr"]}}
        (path / f"{name}.yaml").write_text(json.dumps(scene), encoding="utf-8")
    return path


def failure(folder: Path, case: Case, out: Path) -> FieldEngineError:
    with pytest.raises(FieldEngineError) as caught:
        fieldengine.train(folder / f"{case.scene}.yaml", case.overrides, out=out)
    said = str(caught.value)
    assert f'{case.kind} plugin "{case.name}" of bad 0.3: ' in said
    assert re.search(case.said, said), said
    assert "may also" not in said, "nobody else is suspected"
    return caught.value


@pytest.mark.parametrize("case", [*CLASSES, *BUILT], ids=str)
def test_what_can_be_known_before_training_is_said_before_it(case: Case, folder: Path, tmp_path: Path):
    assert failure(folder, case, tmp_path / "run").exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("case", LATE, ids=str)
def test_what_goes_wrong_in_training_is_in_the_run_folder_too(case: Case, folder: Path, tmp_path: Path):
    reason = failure(folder, case, tmp_path / "run")
    assert isinstance(reason, TrainingError)
    assert reason.exit_code == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["status"], summary["reason"]) == ("failed", str(reason))


def test_every_kind_has_broken_ones_here():
    assert {case.kind for case in (*CLASSES, *BUILT, *LATE)} | {"exporters"} == set(KINDS)
    assert {case.kind for case in LATE} | {"cameras", "exporters", "parameterizations"} == set(KINDS)


def test_what_a_plugin_refuses_is_said_with_its_key_and_its_distribution(folder: Path, tmp_path: Path):
    with pytest.raises(SceneError) as caught:
        fieldengine.train(folder / "image.yaml", {"field.encoding": "refuses"}, out=tmp_path / "run")
    assert caught.value.key == "field.encoding (refuses of bad 0.3)"
    assert caught.value.message == "encodes no 2 dimensions"


def test_a_grid_that_no_file_brings_back_is_refused_before_training(folder: Path, tmp_path: Path):
    with pytest.raises(SceneError, match=r"dataset \(hexagonal\): no grid of pixels \"hexagons\""):
        fieldengine.train(folder / "image.yaml", {"dataset": "hexagonal"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_measurements_of_other_channels_than_the_data_name_the_operator(folder: Path, tmp_path: Path):
    with pytest.raises(SceneError, match=r'operator: "signal" with "direct" and "channel" gives .*\(4, 1\)'):
        fieldengine.train(folder / "image.yaml", {"operator": "channel"}, out=tmp_path / "run")


def test_of_two_strangers_in_one_module_both_are_named(folder: Path, tmp_path: Path):
    with pytest.raises(TrainingError) as caught:
        fieldengine.train(folder / "image.yaml", {"dataset": "waves", "field.encoding": "late"}, out=tmp_path / "run")
    assert "of bad 0.3: failed in LateModule.forward" in str(caught.value), "who it was is seen from the function"
    assert all(f'plugin "{name}" of bad 0.3' in str(caught.value) for name in ("waves", "late"))


def test_a_hook_that_asks_is_not_blamed_for_an_encoding_that_fails(folder: Path, tmp_path: Path):
    overrides = {"training.hooks": ["asking"], "field.encoding": "late"}
    with pytest.raises(TrainingError, match=r'encodings plugin "late" of bad 0\.3: failed in LateModule\.forward'):
        fieldengine.train(folder / "image.yaml", overrides, out=tmp_path / "run")


def test_a_hook_that_cannot_take_its_state_back_is_named_when_a_run_is_resumed(folder: Path, tmp_path: Path):
    scene, overrides = folder / "image.yaml", {"training.hooks": ["unloadable"]}
    fieldengine.train(scene, overrides, out=tmp_path / "run")
    with pytest.raises(
        PluginError, match=f"failed in UnloadableUniform.load_state_dict with KeyError: 'forgo.*{WHERE}"
    ):
        fieldengine.train(scene, {**overrides, "training.steps": 9}, out=tmp_path / "run", resume=True)


# ------------------------------------------------------------------------------------------------------ finished runs


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose encoding fails for more rows than its image has pixels."""
    out = tmp_path_factory.mktemp("finished") / "run"
    fieldengine.train(folder / "image.yaml", {"field.encoding": "large"}, out=out)
    return out


def test_a_plugin_that_fails_while_a_run_is_rendered_is_named(finished: Path, tmp_path: Path):
    run = fieldengine.load(finished)
    said = rf'encodings plugin "large" of bad 0\.3: failed in EvaluatedModule\.forward with IndexError: .*{WHERE}'
    with pytest.raises(RunError, match=said):
        run.render(tmp_path / "image.png", scale=3)
    assert not (tmp_path / "image.png").exists()
    run.render(tmp_path / "image.png")


@pytest.mark.parametrize("cls", EXPORTERS)
def test_an_exporter_that_fails_is_named(cls: str, finished: Path, tmp_path: Path):
    with pytest.raises(FieldEngineError) as caught:
        fieldengine.load(finished).export(cls.lower(), tmp_path / "out.txt")
    assert f'exporters plugin "{cls.lower()}" of bad 0.3: ' in str(caught.value)
    assert re.search(EXPORTERS[cls], str(caught.value))


def test_what_an_exporter_refuses_is_said_in_its_words(finished: Path, tmp_path: Path):
    with pytest.raises(RunError, match=r"out\.txt: cannot be written: needs a moving field"):
        fieldengine.load(finished).export("exportrefuses", tmp_path / "out.txt")


@pytest.mark.parametrize("name", ["tensorial", "latescore", "keyed"])
def test_a_metric_that_fails_while_a_run_is_scored_is_named(name: str, finished: Path):
    with pytest.raises(RunError, match=rf'metrics plugin "{name}" of bad 0\.3: '):
        fieldengine.load(finished).evaluate(metrics=[name])


# --------------------------------------------------------------------------------------------------- the command line


def left(arguments: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command, and what it complained of."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "argv", ["fieldengine", *map(str, arguments)])
    with pytest.raises(SystemExit) as leaving:
        main()
    return int(leaving.value.code or 0), capsys.readouterr().err


COMMANDS = [case for case in (*BUILT, *LATE) if case.cls in ("RaisesKey", "Late", "LateScore") and not case.id]


@pytest.mark.parametrize("case", COMMANDS, ids=str)
def test_the_command_line_says_the_same_and_calls_it_no_bug(
    case: Case, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    overrides = [f"{key}={json.dumps(value)}" for key, value in case.overrides.items()]
    code, said = left(["train", folder / "image.yaml", *overrides, "--out", tmp_path / "run"], monkeypatch, capsys)
    assert code == (1 if case in LATE else 2)
    assert re.search(case.said, said)
    assert "This is a bug" not in said
    assert "Traceback" not in said


def test_the_command_line_exports_with_the_same_care(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    code, said = left(["export", "exportraises", finished, "--out", tmp_path / "a.txt"], monkeypatch, capsys)
    assert code == 2
    assert re.search(EXPORTERS["ExportRaises"], said)
    assert "This is a bug" not in said


def test_the_traceback_is_shown_to_who_asks_for_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FIELDENGINE_TRACEBACK", "1")
    overrides = ["field.encoding=late", "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["fieldengine", "train", str(folder / "image.yaml"), *overrides])
    with pytest.raises(TrainingError) as caught:
        main()
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert str(caught.value.__cause__) == "ran out of luck"


# -------------------------------------------------------------------------------------------------- bugs of the engine


def broken(*arguments: Any, **further: Any) -> Any:
    return arguments[0].nothing


def test_what_goes_wrong_in_our_own_code_stays_a_bug(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training_steps, "cotangent", broken)
    with pytest.raises(AttributeError, match="nothing"):
        fieldengine.train(folder / "image.yaml", {"field.encoding": "sound"}, out=tmp_path / "run")


def test_before_training_too_where_no_stranger_is_at_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(SignalNetwork, "values", broken)
    with pytest.raises(AttributeError, match="nothing"):
        fieldengine.train(folder / "image.yaml", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
