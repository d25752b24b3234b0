"""YAML with a memory: every value knows the file and line, or the override, it came from.

Nothing here knows what a scene is. `read` makes a tree of nodes, `override` replaces one of them, and error messages
take the place of a node from the node itself.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from fieldengine.errors import SceneError

MAX_BYTES = 100_000  # the reader that keeps lines takes seconds for more
MAX_NODES = 20_000
MAX_DEPTH = 20
MAX_BITS = 1024
PLAIN = re.compile(r"[\w./]([\w ./+()@%=,-]*[\w./)])?")


@dataclass(frozen=True)
class Origin:
    """Where a value was written: a line of a file, or an override. `base` is the folder its paths are relative to."""

    base: Path
    file: Path | None = None
    line: int | None = None
    override: str = ""

    def __str__(self) -> str:
        if self.file is not None:
            return f"{self.file}:{self.line}" if self.line else str(self.file)
        return f'override "{self.override}"' if self.override else ""

    def error(self, message: str, key: str = "") -> SceneError:
        return SceneError(message, place=str(self), file=self.file, line=self.line, key=key)


@dataclass(frozen=True)
class Node:
    """A value and its origin: a dict of nodes, a list of nodes, or a plain scalar (str, bool, int, float, None).

    Attributes:
        text: the value of an override as it was typed, for keys that take text as it is; None elsewhere.
    """

    value: Any
    origin: Origin
    text: str | None = None

    def plain(self) -> Any:
        """The value without origins. Raises SceneError for an override that is not valid YAML."""
        if isinstance(self.value, SceneError):
            raise self.value
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def read(path: Path) -> Node:
    """The YAML file at `path` as nodes. Raises SceneError with the line where it cannot be read."""
    whole = Origin(base=path.parent, file=path)
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise whole.error("is a folder. Name a scene file (.yaml)")
        if size > MAX_BYTES:
            raise whole.error(f"holds {size} bytes; a scene file has at most {MAX_BYTES}")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as reason:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        listing = f" In {path.parent} there are: {', '.join(near)}." if near else ""
        raise whole.error(f"no such file.{listing}") from reason
    except UnicodeDecodeError as reason:
        raise whole.error("is not text in UTF-8. Name a scene file (.yaml)") from reason
    except OSError as reason:
        raise whole.error(f"cannot be read: {reason.strerror}") from reason
    node = _load(text, whole)
    if node.value is None:
        raise whole.error("is empty. A scene needs at least a dataset block")
    if not isinstance(node.value, dict):
        raise whole.error("is not a mapping of keys. A scene starts with `dataset:`")
    return node


def parse_override(text: str) -> tuple[str, Node]:
    """`a.b.c=value` -> the key and the value read as YAML, its paths relative to the working directory.

    What is not valid YAML may still be the name of a file: the node holds the error until somebody asks for its value.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    origin = Origin(base=Path(), override=text)
    if not equals or not key or any(not part for part in key.split(".")):
        raise origin.error("is not KEY=VALUE, such as training.steps=500")
    try:
        node = _load(value, origin) if value.strip() else Node("", origin)
    except SceneError as reason:
        node = Node(reason, origin)
    return key, replace(node, text=value)


def from_python(value: Any, origin: Origin) -> Node:
    """Plain Python values (as of a dict of overrides) as nodes."""
    return _nodes(value, origin, _Budget(), 0)


def override(tree: Node, key: str, new: Node) -> Node:
    """The tree with the node at the dotted key replaced; missing blocks are made, list items are named by number."""
    return _override(tree, key.split("."), new, key)


def _override(tree: Node, path: Sequence[str], new: Node, key: str) -> Node:
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(tree.value, list):
        if not head.isdigit() or int(head) >= len(tree.value):
            raise new.origin.error(
                f'"{head}" is not the number of an item; the list has {len(tree.value)} (from 0)', key
            )
        items = list(tree.value)
        items[int(head)] = _override(items[int(head)], rest, new, key)
        return replace(tree, value=items)
    if head.isdigit():
        raise new.origin.error(
            "the scene writes no list here, so it has no items; set the whole list, as in KEY=[1, 2]", key
        )
    # a scalar in the way (`training: null`) gives way to a block: validation will say if that is not what the key holds
    block = dict(tree.value) if isinstance(tree.value, dict) else {}
    if isinstance(tree.value, str):  # a plugin's bare name stands for a block of its type
        block = {"type": tree}
    block[head] = _override(block.get(head, Node({}, new.origin)), rest, new, key)
    return replace(tree, value=block)


def write(tree: Mapping[str, Any]) -> str:
    """A plain tree as YAML text; short lists of scalars stay on one line."""
    yaml = YAML(typ="rt")
    yaml.default_flow_style = None
    yaml.width = 120
    stream = io.StringIO()
    yaml.dump(_spelt(tree), stream)
    return stream.getvalue()


def _spelt(value: Any) -> Any:
    """A plain tree whose texts are in quotes where YAML might read another text without."""
    if isinstance(value, Mapping):
        return {key: _spelt(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_spelt(child) for child in value]
    if isinstance(value, str) and not (PLAIN.fullmatch(value) and value.isprintable()):
        return DoubleQuotedScalarString(value)
    return value


def _load(text: str, origin: Origin) -> Node:
    yaml = YAML(typ="rt", pure=True)
    try:
        _check_depth(yaml.parse(text), origin)  # before it is loaded, for the loader calls itself level by level
        loaded = yaml.load(text)
    except MarkedYAMLError as reason:
        mark = reason.problem_mark or reason.context_mark
        line = mark.line + 1 if mark is not None and origin.file else None
        problem = " ".join(str(reason.problem or reason.context).split())
        if origin.override and "<stream end>" in problem:  # the shell's doing, mostly: it splits at spaces
            problem += "; put the whole of KEY=VALUE into quotes"
        raise replace(origin, line=line).error(f"is not valid YAML: {problem}") from reason
    except (YAMLError, ValueError, RecursionError) as reason:
        raise origin.error(f"is not valid YAML: {' '.join(str(reason).split())}") from reason
    return _nodes(loaded, origin, _Budget(), 0)


def _check_depth(events: Iterable[Any], origin: Origin) -> None:
    """Raise SceneError where blocks and lists lie too deep in each other; stops reading there."""
    depth = 0
    for event in events:
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if origin.file else None
            said = f"nests blocks and lists more than {MAX_DEPTH} deep; a scene is far flatter"
            raise replace(origin, line=line).error(said)


@dataclass
class _Budget:
    """Aliases can make a short file expand without end; this counts what it becomes."""

    spent: int = 0


def _nodes(value: Any, origin: Origin, budget: _Budget, depth: int) -> Node:
    budget.spent += 1
    if budget.spent > MAX_NODES or depth > MAX_DEPTH:
        raise origin.error(f"expands to more than {MAX_NODES} values or {MAX_DEPTH} levels; a scene is far smaller")
    if isinstance(value, Mapping):
        children = {}
        for key, child in value.items():
            place = _place(origin, value, key)
            if not isinstance(key, str):
                raise place.error(f"key {key!r} is not a word")
            children[key] = _nodes(child, place, budget, depth + 1)
        return Node(children, origin)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Node(
            [_nodes(child, _place(origin, value, i), budget, depth + 1) for i, child in enumerate(value)], origin
        )
    return Node(_scalar(value, origin), origin)


def _place(origin: Origin, parent: Any, key: Any) -> Origin:
    lines = getattr(parent, "lc", None)
    if lines is None or origin.file is None:
        return origin
    try:
        line = lines.key(key)[0] if isinstance(parent, Mapping) else lines.item(key)[0]
    except (KeyError, TypeError):  # a key merged in with << has no line of its own
        return origin
    return replace(origin, line=line + 1)


def _scalar(value: Any, origin: Origin) -> Any:
    # ruamel's scalars are subclasses that remember their spelling; only the value matters from here on
    if isinstance(value, int) and value.bit_length() > MAX_BITS:  # Python refuses to print much longer ones
        raise origin.error(f"holds a whole number of {value.bit_length()} bits; the most is {MAX_BITS}")
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    if value is None:
        return None
    if isinstance(value, Path):
        return str(value)
    if type(value).__name__ == "ScalarBoolean":
        return bool(value)
    return str(value)


def walk(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a plain tree with its dotted key; a list of scalars is one value."""
    if isinstance(tree, Mapping):
        for key, child in tree.items():
            yield from walk(child, f"{prefix}{key}.")
    elif isinstance(tree, list) and any(isinstance(child, Mapping | list) for child in tree):
        for i, child in enumerate(tree):
            yield from walk(child, f"{prefix}{i}.")
    else:
        yield prefix.removesuffix("."), tree


def leaves(tree: Any) -> Iterator[Any]:
    """Every scalar of a plain tree."""
    if isinstance(tree, Mapping | list):
        for child in tree.values() if isinstance(tree, Mapping) else tree:
            yield from leaves(child)
    else:
        yield tree
