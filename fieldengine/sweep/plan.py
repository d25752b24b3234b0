"""A sweep file: a base scene, what is changed for every run, and a grid of changes. Each point of the grid is a cell.

    scene: image.yaml
    set: {training.steps: 500}
    grid:
      method:
        SIREN: {field.activation: siren}
        FINER: {field.activation: finer, training.lr: 5.e-4}
      dataset.path: [one.png, two.png]
    seeds: 3
    published:
      psnr: {SIREN: 38.52, FINER: 40.76}
    milestones:
      psnr: {reach: [30, 35], after_seconds: [60], after_steps: [250]}
    profiles:
      small: {set: {training.steps: 100}, seeds: 1}

Keys are those of the scene with dots, as on the command line. An axis of the grid is a name with a block of labels,
each a block of keys, or a key with a list of values. Paths are relative to the sweep file, or to the folder of
`--data`. Milestones are further columns of the table (`fieldengine.sweep.milestones`), and may have published numbers,
too, under the names they have there.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fieldengine.config import document
from fieldengine.config.document import Node, Origin
from fieldengine.config.scene import SceneConfig, check_scene
from fieldengine.errors import SceneError, did_you_mean
from fieldengine.metrics.evaluate import InstalledMetrics
from fieldengine.plugins.registry import Registry
from fieldengine.sweep.milestones import KINDS, Milestone

OF_A_PROFILE = ("set", "grid", "seeds", "rows", "published", "milestones")
KEYS = ("scene", *OF_A_PROFILE, "profiles")
MOST_CELLS = 10_000
TILE = 4096  # not the one that a trial finds fastest, which would round differently from run to run
SEED = "seed"
LONGEST = 60  # letters of a label in the name of a folder
LONGEST_NAME = 200  # bytes of that name


@dataclass(frozen=True)
class Cell:
    """One run: its folder's name, its label on each axis, its scene."""

    name: str
    labels: dict[str, str]
    config: SceneConfig


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
        rows: the axis whose labels are the rows of the table.
        published: metric -> label of `rows` -> number to put beside ours.
        axes: name -> labels, in order, seeds last.
    """

    name: str
    rows: str
    axes: dict[str, list[str]]
    cells: list[Cell]
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    milestones: list[Milestone] = field(default_factory=list)


def read_sweep(
    path: Path, profile: str | None = None, data: Path | None = None, registry: Registry | None = None
) -> Sweep:
    """Read a sweep file and check the scene of every cell.

    Raises SceneError with file, line and key for whatever is wrong, before anything is run.
    """
    registry = registry or Registry()
    root = document.read(path)
    if "dataset" in root.value:
        raise root.origin.error(
            "is a scene, not a sweep: run it by `fieldengine train`, or name it in a sweep's `scene`"
        )
    own = _known(root, KEYS, "")
    blocks = _with_profile(own, profile)
    if data is not None and not data.is_dir():
        raise SceneError(f"--data {data} is not a folder")
    if data is not None:  # a scene file stands beside the sweep, the paths of one that is written here do not
        its_file = {key for key, node in blocks.items() if key == "scene" and not isinstance(node.value, dict)}
        blocks = {key: node if key in its_file else _rebased(node, data) for key, node in blocks.items()}
    base = document.override(_base_scene(root, blocks.get("scene")), "training.tile", Node(TILE, root.origin))
    for key, node in _mapping(blocks.get("set"), root, "set").items():
        base = document.override(base, key, node)
    axes = _axes(blocks.get("grid"), root)
    if SEED in axes:
        raise root.origin.error(f'"{SEED}" is the axis of `seeds`; give this one another name', f"grid.{SEED}")
    axes[SEED] = _seeds(blocks.get("seeds"), root)
    _refuse_shared_keys(axes)
    n = 1
    for axis in axes.values():
        n *= len(axis)
    if n > MOST_CELLS:
        raise root.origin.error(f"makes {n:,} runs; the most is {MOST_CELLS:,}", "grid")
    names = {name: file_names(list(axis)) for name, axis in axes.items()}
    cells: dict[str, Cell] = {}
    for labels in itertools.product(*axes.values()):
        chosen = dict(zip(axes, labels, strict=True))
        tree = base
        for name, label in chosen.items():
            for key, node in axes[name][label].items():
                tree = document.override(tree, key, node)
        cell = "-".join(names[name][label] for name, label in chosen.items())
        if len(cell.encode()) > LONGEST_NAME:
            cell = f"{cell.encode()[: LONGEST_NAME - 7].decode(errors='ignore')}.{_short(cell)}"
        cells[cell] = Cell(cell, chosen, check_scene(tree, cell, registry))
    labels = {name: list(axis) for name, axis in axes.items()}
    rows = _rows(blocks.get("rows"), labels)
    without_profile = _axes(own.get("grid"), root).get(rows, {})
    installed = InstalledMetrics(registry)
    known = {*labels[rows], *without_profile}
    published = _published(blocks.get("published"), root, rows, labels[rows], known, installed)
    milestones = list(_milestones(blocks.get("milestones"), root, installed))
    for cell in cells.values() if milestones else ():
        every, steps = cell.config.evaluation.every, cell.config.training.steps
        if not 0 < every < steps:
            raise root.origin.error(
                f"needs curves of scores; of {steps} steps set evaluation.every, now {every}, "
                f"to {max(1, steps // 20)} or so",
                "milestones",
            )
    return Sweep(path.stem, rows, labels, list(cells.values()), published, milestones)


def _known(node: Node, names: tuple[str, ...], where: str) -> dict[str, Node]:
    children = _mapping(node, node, where)
    for name, child in children.items():
        if name not in names:
            listing = ", ".join(names)
            raise child.origin.error(f"no such key. Keys here: {listing}.{did_you_mean(name, names)}", f"{where}{name}")
    return children


def _mapping(node: Node | None, parent: Node, where: str) -> dict[str, Node]:
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        raise node.origin.error(f"expected a block of keys, found {node.plain()!r}", where)
    return node.value


def _with_profile(blocks: dict[str, Node], profile: str | None) -> dict[str, Node]:
    """The blocks with those of a profile laid over: keys of `set` and axes of `grid` one by one, others as a whole."""
    profiles = blocks.get("profiles")
    names = list(profiles.value) if profiles is not None and isinstance(profiles.value, dict) else []
    if profile is None:
        return blocks
    if profiles is None or profile not in names:
        listing = ", ".join(names) or "none"
        raise SceneError(f'no profile "{profile}". Profiles here: {listing}.{did_you_mean(profile, names)}')
    merged = dict(blocks)
    for key, node in _known(profiles.value[profile], OF_A_PROFILE, f"profiles.{profile}.").items():
        before = merged.get(key)
        if key in ("set", "grid") and before is not None and isinstance(before.value, dict):
            node = replace(node, value={**before.value, **_mapping(node, node, key)})
        merged[key] = node
    return merged


def _rebased(node: Node, base: Path) -> Node:
    origin, value = replace(node.origin, base=base), node.value
    if isinstance(value, dict):
        return Node({key: _rebased(child, base) for key, child in value.items()}, origin)
    return Node([_rebased(child, base) for child in value], origin) if isinstance(value, list) else Node(value, origin)


def _base_scene(root: Node, node: Node | None) -> Node:
    if node is None:
        raise root.origin.error("needs the key `scene`: a scene file, or a scene written here")
    if isinstance(node.value, str):
        return document.read(node.origin.base / Path(node.value).expanduser())
    if not isinstance(node.value, dict):
        raise node.origin.error(f"expected a scene file, or a scene written here, found {node.plain()!r}", "scene")
    return node


def _axes(grid: Node | None, root: Node) -> dict[str, dict[str, dict[str, Node]]]:
    """Axis -> label -> key -> value."""
    return {name: _axis(name, node) for name, node in _mapping(grid, root, "grid").items()}


def _axis(name: str, node: Node) -> dict[str, dict[str, Node]]:
    """Label -> key -> value."""
    if isinstance(node.value, dict):
        found = {label: _mapping(child, child, f"grid.{name}.{label}") for label, child in node.value.items()}
    elif isinstance(node.value, list):
        found = {label: {name: child} for label, child in zip(labels_of(node, name), node.value, strict=True)}
    else:
        raise node.origin.error(
            f"expected a list of values, or a block of labels with the keys each sets, found {node.plain()!r}",
            f"grid.{name}",
        )
    if not found:
        raise node.origin.error("is empty; an axis has at least one value", f"grid.{name}")
    return found


def _refuse_shared_keys(axes: Mapping[str, dict[str, dict[str, Node]]]) -> None:
    """Raise SceneError where two axes set one key, or a key and the block it is in."""
    owners: dict[str, str] = {}
    for name, labels in axes.items():
        for key, node in {key: node for of_label in labels.values() for key, node in of_label.items()}.items():
            for other, owner in owners.items():
                if owner != name and (f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")):
                    both = key if key == other else f"{other} and {key}"
                    raise node.origin.error(f'the axes "{owner}" and "{name}" both set {both}', "grid")
            owners[key] = name


def labels_of(values: Node, axis: str) -> list[str]:
    """A label for each of the values of an axis, as short as tells them all apart.

    Raises SceneError for a value that is there twice.
    """
    forms = [_forms(node.plain()) for node in values.value]
    for k in range(3):
        labels = [form[k] for form in forms]
        if len(set(labels)) == len(labels):
            return labels
    i = next(i for i, form in enumerate(forms) if form[-1] in [other[-1] for other in forms[:i]])
    raise values.value[i].origin.error(f'the value "{forms[i][0]}" appears twice', f"grid.{axis}")


def _forms(plain: Any) -> tuple[str, str, str]:
    """What a value may be called, the shortest first, the whole of it last."""
    if isinstance(plain, Mapping):
        rest = ", ".join(f"{key}={value}" for key, value in plain.items() if key != "type")
        kind = str(plain.get("type", rest))
        whole = f"{kind} {rest}".strip() if "type" in plain else rest
        return kind, whole, whole
    if isinstance(plain, str) and ("/" in plain or Path(plain).suffix):
        return Path(plain).stem, Path(plain).name, plain
    return str(plain), str(plain), str(plain)


def file_names(labels: Sequence[str]) -> dict[str, str]:
    """Of each label a part of a file's name, which differs from the others' where letters' case does not count."""
    plain = {label: re.sub(r"[^\w.]+", "_", label)[:LONGEST] for label in labels}
    counts = Counter(name.casefold() for name in plain.values())
    return {
        label: name if counts[name.casefold()] == 1 and len(label) <= LONGEST else f"{name}.{_short(label)}"
        for label, name in plain.items()
    }


def _short(label: str) -> str:
    return hashlib.sha256(label.encode()).hexdigest()[:6]


def _seeds(node: Node | None, root: Node) -> dict[str, dict[str, Node]]:
    plain = 1 if node is None else node.plain()
    origin: Origin = root.origin if node is None else node.origin
    if isinstance(plain, int) and plain > MOST_CELLS:
        raise origin.error(f"makes {plain:,} runs or more; the most is {MOST_CELLS:,}", "seeds")
    seeds = list(range(plain)) if isinstance(plain, int) and not isinstance(plain, bool) else plain
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise origin.error(f"expected how many seeds, or a list of them, found {plain!r}", "seeds")
    if len(set(seeds)) < len(seeds):
        raise origin.error(f"a seed appears twice: {plain}", "seeds")
    return {str(seed): {"training.seed": Node(seed, origin)} for seed in seeds}


def _rows(node: Node | None, labels: dict[str, list[str]]) -> str:
    if node is None:
        return next(iter(labels))
    if not isinstance(node.value, str) or node.value not in labels:
        raise node.origin.error(f'no axis "{node.plain()}". Axes: {", ".join(labels)}', "rows")
    return node.value


def _published(
    node: Node | None,
    root: Node,
    rows: str,
    labels: Sequence[str],
    known: Collection[str],
    installed: InstalledMetrics,
) -> dict[str, dict[str, float]]:
    """Numbers of the rows there are; the file knows more where a profile leaves some out."""
    found: dict[str, dict[str, float]] = {}
    for metric, of_labels in _mapping(node, root, "published").items():
        where, found[metric] = f"published.{metric}", {}
        if not any(map(installed.metric_of, metric.split())):  # of a milestone's name one word is the metric
            raise of_labels.origin.error(installed.unknown(metric), where)
        for label, number in _mapping(of_labels, root, where).items():
            value = number.plain()
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise number.origin.error(f"expected a number, found {value!r}", f"{where}.{label}")
            if label not in known:
                hint = did_you_mean(label, known) or f" Rows: {', '.join(labels)}"
                raise number.origin.error(f'no row "{label}" on axis "{rows}".{hint}', where)
            if label in labels:
                found[metric][label] = float(value)
    return found


def _milestones(node: Node | None, root: Node, installed: InstalledMetrics) -> Iterator[Milestone]:
    for metric, block in _mapping(node, root, "milestones").items():
        if installed.metric_of(metric) is None:
            raise block.origin.error(installed.unknown(metric), f"milestones.{metric}")
        for kind, numbers in _known(block, KINDS, f"milestones.{metric}.").items():
            plain = numbers.plain()
            values = plain if isinstance(plain, list) else [plain]
            if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
                raise numbers.origin.error(f"expected numbers, found {plain!r}", f"milestones.{metric}.{kind}")
            yield from (Milestone(metric, kind, float(value), installed.higher_is_better(metric)) for value in values)
