"""A scene: which data, which field, which renderer, how to train. YAML file and overrides -> SceneConfig.

The blocks that belong to the engine itself are the dataclasses below; every other block is a plugin's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from fieldengine.config import document
from fieldengine.config.describe import described
from fieldengine.config.document import Node, Origin
from fieldengine.config.keys import AUTO
from fieldengine.config.parse import Reading, parse
from fieldengine.config.schema import json_schema
from fieldengine.errors import PluginError, SceneError
from fieldengine.kinds.dataset import DatasetOptions
from fieldengine.kinds.field import FieldOptions
from fieldengine.kinds.hook import HookOptions
from fieldengine.kinds.metric import Metric
from fieldengine.kinds.operator import OperatorOptions
from fieldengine.kinds.renderer import RendererOptions
from fieldengine.plugins.registry import Plugin, Registry


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes from `training.lr` on."""

    decay: Literal["constant", "exponential", "cosine", "milestones"] = "exponential"
    """shape of the decay"""
    final: Annotated[float, Field(gt=0, le=1)] = 0.1
    """factor reached at the last step (exponential, cosine), or applied at each milestone"""
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75, 0.9)
    """fractions of the steps at which `final` is applied again (milestones)"""
    warmup: Annotated[int, Field(ge=0)] = 0
    """steps over which the rate rises linearly from zero"""


@dataclass(frozen=True)
class Training:
    """How the field is trained."""

    steps: Annotated[int, Field(ge=1)] = 2000
    """optimiser steps"""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """stop after this much training time, evaluation not counted"""
    batch_size: Annotated[int, Field(ge=1)] | Literal["full"] = 8192
    """pixels, points or rays per step; `full` takes every item"""
    loss: Literal["mse", "l1", "smooth_l1", "relative"] = "mse"
    """smooth_l1 is linear beyond 0.1; relative is |f - y| / (|y| + 0.01)"""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's learning rate; plugins may scale it for their own parameters"""
    schedule: Schedule = Schedule()
    """how the learning rate decays"""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """decay of the averaged weights that are evaluated and exported; 0 uses the weights themselves"""
    clip: Annotated[float, Field(gt=0)] | None = None
    """maximum norm of the whole gradient"""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """seed of the run's random generator"""
    precision: Literal["auto", "float32", "fast", "half"] = "auto"
    """precision of the factors of matrix products: auto rounds those of back-propagation to bfloat16 where the
    processor is faster with it, which costs no quality (docs/benchmarks.md); fast rounds all, on a GPU to TF32, which
    costs a little; half also stores the tensors between wide layers in bfloat16, for relu networks only: sines and
    Gaussians learn to fit that rounding and score badly in float32, in which every field is scored and exported.
    Coordinates, encodings, functions and sums are always float32"""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile for the work on a tile; auto compiles on a GPU if that saves more time than it takes"""
    tile: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """points or rays rendered and back-propagated at once; limits memory, changes results only by rounding"""
    log_every: Annotated[int, Field(ge=1)] = 10
    """steps between lines of metrics.jsonl"""
    checkpoint_every: Annotated[int, Field(ge=1)] = 1000
    """steps between checkpoints; the last step always writes one"""
    keep_checkpoints: Annotated[int, Field(ge=1)] | Literal["all"] = 2
    """how many of the newest checkpoints are kept; `fieldengine analyze` reads those that are there"""
    hooks: tuple[HookOptions, ...] = ()
    """plugins that choose batches, change gradients or add penalties"""
    data_changed: Literal["refuse", "accept"] = "refuse"
    """what to do where files of the data have changed since the run began, when it is resumed or scored"""


@dataclass(frozen=True)
class Evaluation:
    """When the field is scored, and on what."""

    every: Annotated[int, Field(ge=0)] = 1000
    """steps between evaluations; 0 evaluates at the end only"""
    splits: tuple[Literal["train", "val", "test"], ...] = ("test",)
    """which splits are scored"""
    max_views: Annotated[int, Field(ge=1)] | None = None
    """score at most this many images of a split, evenly spaced"""
    metrics: tuple[Metric, ...] = ()
    """metrics (docs/metrics.md); the default depends on the data set"""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a scene file."""

    dataset: DatasetOptions
    """the data to fit"""
    field: FieldOptions
    """the field to train; the default depends on the data set"""
    renderer: RendererOptions
    """how the field becomes values; the default depends on the data set"""
    operator: OperatorOptions
    """how measurements follow from values, for data that are not the values themselves"""
    training: Training = Training()
    """how the field is trained"""
    evaluation: Evaluation = Evaluation()
    """when the field is scored"""


BY_THE_DATA = ("field", "renderer", "evaluation.metrics")  # keys whose defaults depend on the data set


def scene_keys() -> Iterator[tuple[str, str, str, str]]:
    """Of each key that every scene has its name, type, default and line, as a user reads them."""
    for name, kind, default, line in described(Blocks):
        yield name, kind, "by the data" if name in BY_THE_DATA else default, line


@dataclass(frozen=True)
class SceneConfig:
    """A checked scene.

    Attributes:
        name: file name without its ending; names the run folder.
        dataset, field, renderer, operator: options of plugins, instances of their own dataclasses.
        plain: the whole scene with every default written out, as plain values.
        candidates: dotted key -> values, for every number that a scene may leave `auto`.
        plugins: every plugin the scene uses.
        origins: dotted key -> where it is written.
    """

    name: str
    dataset: Any
    field: Any
    renderer: Any
    operator: Any
    training: Training
    evaluation: Evaluation
    plain: dict[str, Any]
    plugins: tuple[Plugin, ...]
    candidates: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    origins: dict[str, Origin] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Inside the block an error about a block of this scene says where that is written."""
        try:
            yield
        except SceneError as reason:
            key = reason.key.partition(" ")[0]
            while key and key not in self.origins:
                key = key.rpartition(".")[0]
            if reason.place or not key:
                raise
            raise self.origins[key].error(reason.message, reason.key) from reason

    @property
    def usual_metrics(self) -> tuple[str, ...]:
        """The metrics that suit the data set."""
        return getattr(self.dataset, "default_metrics", ())

    @property
    def open_keys(self) -> list[str]:
        """The keys that are `auto` still."""
        plain = dict(document.walk(self.plain))
        return [key for key in self.candidates if plain[key] == AUTO]

    def with_values(self, values: Mapping[str, Any], registry: Registry | None = None) -> SceneConfig:
        """The scene with these dotted keys set, checked anew."""
        tree = document.from_python(self.plain, Origin(base=Path()))
        for key, value in values.items():
            tree = document.override(
                tree, key, document.from_python(value, Origin(base=Path(), override=f"{key}={value}"))
            )
        found = check_scene(tree, self.name, registry or Registry())
        return dataclasses.replace(found, origins=self.origins)


def read_scene(
    path: Path, overrides: Sequence[str] | Mapping[str, Any] = (), registry: Registry | None = None
) -> SceneConfig:
    """Read and check a scene file. `overrides` are `a.b=value` texts, or a mapping of dotted keys to values.

    Raises SceneError with file, line and key for whatever is wrong.
    """
    tree = document.read(path)
    if isinstance(overrides, Mapping):
        pairs = [
            (key, document.from_python(value, Origin(base=Path(), override=f"{key}={value}")))
            for key, value in overrides.items()
        ]
    else:
        pairs = [document.parse_override(text) for text in overrides]
    for i, (key, node) in enumerate(pairs):
        undone = next((before for before, _ in pairs[:i] if before.startswith(f"{key}.")), None)
        if undone is not None:
            raise node.origin.error(f"would undo {undone}=... before it. Write {undone} after it, or inside", key)
        tree = document.override(tree, key, node)
    return check_scene(tree, path.stem, registry or Registry())


def check_scene(tree: Node, name: str, registry: Registry) -> SceneConfig:
    """Validate a tree of nodes and fill in every default."""
    reading = Reading(registry)
    blocks, plain = parse(Blocks, _with_defaults_of_dataset(tree, registry), "", reading)
    unique = {(plugin.kind, plugin.name, plugin.distribution): plugin for plugin in reading.used}
    return SceneConfig(
        name,
        blocks.dataset,
        blocks.field,
        blocks.renderer,
        blocks.operator,
        blocks.training,
        blocks.evaluation,
        plain,
        tuple(unique.values()),
        reading.candidates,
        reading.origins,
    )


def _with_defaults_of_dataset(tree: Node, registry: Registry) -> Node:
    """Name the field and the renderer that suit the data set, where the scene does not."""
    dataset = tree.value.get("dataset")
    if dataset is None:
        installed = ", ".join(registry.names("datasets"))
        if "grid" in tree.value or "scene" in tree.value:
            raise tree.origin.error("is a sweep, not a scene: run it by `fieldengine sweep`")
        raise tree.origin.error(
            f"needs a block `dataset: {{type: image, path: photo.png}}`. Types installed: {installed}"
        )
    kind = dataset.value.get("type") if isinstance(dataset.value, dict) else dataset
    if kind is None or not isinstance(kind.value, str):
        return tree  # parsing the block says what is wrong with it
    try:
        plugin = registry.find("datasets", kind.value)
        options = plugin.load()
    except PluginError:
        return tree

    def default(group: str, name: str) -> str:
        """The name by which a default is looked up, once it is known to be there."""
        chosen = registry.default(group, name)
        try:
            registry.find(group, chosen)
        except PluginError as reason:
            said = plugin.error(f"names a default that is not there: {reason.reason}")
            raise kind.origin.error(str(said), "dataset.type") from reason
        return chosen

    blocks = dict(tree.value)
    for block, group, name in (
        ("field", "fields", options.default_field),
        ("renderer", "renderers", options.default_renderer),
    ):
        node = blocks.get(block, Node({}, tree.origin))
        if isinstance(node.value, dict) and "type" not in node.value:
            blocks[block] = Node({"type": Node(default(group, name), node.origin), **node.value}, node.origin)
    evaluation = blocks.get("evaluation", Node({}, tree.origin))
    if isinstance(evaluation.value, dict) and "metrics" not in evaluation.value:
        names = [default("metrics", name) for name in getattr(options, "default_metrics", ())]
        usual = Node([Node(name, evaluation.origin) for name in names], evaluation.origin)
        blocks["evaluation"] = Node({**evaluation.value, "metrics": usual}, evaluation.origin)
    return Node(blocks, tree.origin)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys at which two plain scenes differ -> (before, after); a missing key counts as None."""
    old, new = dict(document.walk(before)), dict(document.walk(after))
    return {key: (old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)}


def scene_schema(registry: Registry) -> dict[str, Any]:
    """JSON Schema of a whole scene with the plugins installed here."""
    schema = {**json_schema(Blocks, registry), "required": ["dataset"]}
    for block in ("field", "renderer"):  # their type may be left to the data set
        for choice in schema["properties"][block]["anyOf"]:
            choice["required"] = [name for name in choice.get("required", []) if name != "type"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "fieldengine scene", **schema}
