"""Options: a frozen dataclass is the schema of a block, and `parse` fills it from nodes.

The same dataclass gives the validation, the defaults written into the run folder, `plugins show` and the JSON Schema.
A key's annotation may carry pydantic's constraints (`Annotated[int, Field(gt=0)]`), a `Slot` for a nested plugin, be
another dataclass for a plain block, or be a `pathlib.Path`, which is resolved against the file that names it.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import json
import math
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fieldengine.document import Node, Origin, leaves
from fieldengine.errors import PluginError, SceneError, did_you_mean
from fieldengine.registry import Plugin, Registry

AUTO = "auto"


@dataclass(frozen=True)
class Key:
    """One key of a block: its name, its type, its default (MISSING where it is required) and one line about it."""

    name: str
    annotation: Any
    default: Any
    doc: str
    slot: Any = None
    many: bool = False
    candidates: tuple[float, ...] = ()

    @property
    def required(self) -> bool:
        return self.default is MISSING and (self.slot is None or self.slot.default is None)

    @property
    def block(self) -> type[Any] | None:
        """The dataclass of a plain nested block, or None."""
        bare = _bare(self.annotation)
        return bare if isinstance(bare, type) and dataclasses.is_dataclass(bare) else None


@dataclass
class Reading:
    """What parsing needs to know and what it finds out.

    Attributes:
        used: the plugins that a scene uses.
        candidates: dotted key -> what it may become, for every number that may be `auto`.
        origins: dotted key -> where it is written.
    """

    registry: Registry
    used: list[Plugin] = field(default_factory=list)
    candidates: dict[str, tuple[float, ...]] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)


def keys(cls: type[Any]) -> Iterator[Key]:
    """The keys of a block, in the order of its dataclass."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as reason:  # an annotation is a stranger's code and may fail in any way
        raise PluginError(f"the types of {cls.__qualname__}'s keys cannot be read: {reason}") from reason
    docs = _attribute_docs(cls)
    for entry in dataclasses.fields(cls):
        default = entry.default
        if default is MISSING and entry.default_factory is not MISSING:
            default = entry.default_factory()
        annotation = hints[entry.name]
        slot, many = _marked(annotation, "Slot"), False
        if slot is None and typing.get_origin(_bare(annotation)) is tuple:
            slot = _marked(typing.get_args(_bare(annotation))[0], "Slot")
            many = slot is not None
        some = _marked(annotation, "Candidates")
        yield Key(entry.name, annotation, default, docs.get(entry.name, ""), slot, many, some.values if some else ())


def parse(cls: type[Any], node: Node, where: str, reading: Reading) -> tuple[Any, dict[str, Any]]:
    """Fill the dataclass from a node -> the instance and the plain tree with every default written out.

    Where the dataclass names one of its keys as its `shorthand`, a value alone stands for a block of that key.
    """
    known = {key.name: key for key in keys(cls)}
    short = getattr(cls, "shorthand", None)
    if short is not None and not isinstance(node.value, dict):
        try:
            _validate(known[short], node, where)
        except SceneError as reason:
            said = f"expected {describe(known[short].annotation)}, or a block of keys ({', '.join(known)})"
            raise node.origin.error(f"{said}, found {_show(node.plain())}", where) from reason
        node = Node({short: node}, node.origin)
    if not isinstance(node.value, dict):
        listing = ", ".join(known)
        raise node.origin.error(f"expected a block of keys ({listing}), found {_show(node.plain())}", where)
    overridden = (child.origin for child in node.value.values() if child.origin.override)
    reading.origins[where] = next(overridden, node.origin)
    for name, child in node.value.items():
        if name not in known:
            listing = ", ".join(known) or "none"
            deeper = [key for key, *_ in described(cls) if key.endswith(f".{name}")]
            hint = f' Did you mean "{_join(where, deeper[0])}"?' if deeper else did_you_mean(name, known)
            raise child.origin.error(f"no such key. Keys here: {listing}.{hint}", _join(where, name))
    values: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    for name, key in known.items():
        child = node.value.get(name)
        if child is None and key.required:
            raise node.origin.error(f"needs the key `{name}`{f': {key.doc}' if key.doc else ''}", where)
        values[name], plain[name] = _parse_key(key, child, _join(where, name), node.origin, reading)
    try:
        return cls(**values), plain
    except ValueError as reason:  # a dataclass checks what concerns several keys in its __post_init__
        raise node.origin.error(str(reason), where) from reason


def parse_plugin(kind: str, node: Node, where: str, reading: Reading) -> tuple[Any, dict[str, Any]]:
    """Fill the options of the plugin that a block `{type: NAME, ...}` names; a bare name stands for `{type: NAME}`."""
    if isinstance(node.value, str):
        node = Node({"type": node}, node.origin)
    if not isinstance(node.value, dict):
        raise node.origin.error(f"expected a block with a `type`, found {_show(node.plain())}", where)
    chosen = node.value.get("type")
    names = ", ".join(reading.registry.names(kind))
    if chosen is None:
        installed = [name for name in node.value if name in reading.registry.names(kind)]
        slips = [hint for name in node.value if (hint := did_you_mean(name, ["type"]))]
        hint = f" Write `{{type: {installed[0]}, ...}}`." if installed else "".join(slips[:1])
        raise node.origin.error(f"needs the key `type`.{hint} Installed: {names}", where)
    if not isinstance(chosen.value, str):
        raise chosen.origin.error(
            f"expected a name, found {_show(chosen.plain())}. Installed: {names}", _join(where, "type")
        )
    try:
        plugin = reading.registry.find(kind, chosen.value)
        cls = plugin.load()
        try:
            list(keys(cls))
        except PluginError as reason:
            raise plugin.error(reason.reason) from reason
    except PluginError as reason:
        raise chosen.origin.error(str(reason), _join(where, "type")) from reason
    reading.used.append(plugin)
    rest = Node({name: child for name, child in node.value.items() if name != "type"}, node.origin)
    options, plain = parse(cls, rest, where, reading)
    return options, {"type": chosen.value, **plain}


def _parse_key(key: Key, child: Node | None, where: str, parent: Origin, reading: Reading) -> tuple[Any, Any]:
    if key.slot is not None and key.many:
        if child is None or child.value is None:
            return (), []
        reading.origins[where] = child.origin
        items = [child] if isinstance(child.value, str | dict) else child.value  # one of them may stand alone
        if not isinstance(items, list):
            raise child.origin.error(f"expected a list of blocks, found {_show(child.plain())}", where)
        pairs = [parse_plugin(key.slot.kind, item, f"{where}.{i}", reading) for i, item in enumerate(items)]
        return tuple(pair[0] for pair in pairs), [pair[1] for pair in pairs]
    if key.slot is not None:
        default = key.slot.default and reading.registry.default(key.slot.kind, key.slot.default)
        if isinstance(child, Node) and isinstance(child.value, dict) and "type" not in child.value and default:
            child = Node({"type": Node(default, child.origin), **child.value}, child.origin)
        return parse_plugin(key.slot.kind, child or Node(default, parent), where, reading)
    if key.block is not None:
        return parse(key.block, child or Node({}, parent), where, reading)
    if key.candidates:
        reading.candidates[where] = key.candidates
        if child is not None and child.value == AUTO:
            return key.default, AUTO
    if child is None:
        return key.default, _plain(key.default)
    reading.origins[where] = child.origin
    value = _validate(key, child, where)
    if isinstance(value, Path):
        try:
            value = child.origin.base / value.expanduser()  # an absolute path stays as it is
        except RuntimeError as reason:
            raise child.origin.error(f"names a home folder that does not exist: {value}", where) from reason
    return value, _plain(value)


def _validate(key: Key, child: Node, where: str) -> Any:
    plain = child.plain()
    endless = [leaf for leaf in leaves(plain) if isinstance(leaf, float) and not math.isfinite(leaf)]
    if endless:
        raise child.origin.error(f"expected a finite number, found {endless[0]}", where)
    try:
        # JSON mode is strict about types, yet takes a list for a tuple, an int for a float and text for a path
        return TypeAdapter(key.annotation).validate_json(json.dumps(plain), strict=True)
    except ValidationError as reason:
        options = [str(option) for option in _literals(key.annotation)]
        words = [leaf for leaf in leaves(plain) if isinstance(leaf, str) and leaf not in options]
        hint = did_you_mean(words[0], options) if words else ""
        stop = "." if hint else ""
        message = f"{_complaint(options, reason)}, found {_show(plain)}{stop}{hint}"
        raise child.origin.error(message, where) from reason


def _complaint(options: list[str], reason: ValidationError) -> str:
    errors = reason.errors(include_url=False)
    if all(error["type"] == "literal_error" for error in errors):
        return f"expected one of {', '.join(options)}"
    texts = []
    for error in errors:
        if error["type"] == "literal_error":
            texts.append(" or ".join(options))
            continue
        text = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        text = "true or false" if error["type"] == "bool_type" else text
        most = error.get("ctx", {}).get("max_length")
        text = f"at most {most} values" if error["type"] == "too_long" else text
        text = "another value" if error["type"] == "missing" else text
        inside = ".".join(str(part) for part in error["loc"] if isinstance(part, int))
        texts.append(f"{text} (item {inside})" if inside else text)
    return "expected " + ", or ".join(dict.fromkeys(texts))


def described(cls: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    """Of each key its name, type, default and line, as a user reads them."""
    for key in keys(cls):
        if key.block is not None:
            short = next(
                (inner for inner in keys(key.block) if inner.name == getattr(key.block, "shorthand", "")), None
            )
            yield key.name, f"{describe(short.annotation)} | block" if short else "block", "{}", key.doc
            for name, kind, shown, doc in described(key.block):
                yield f"{key.name}.{name}", kind, shown, doc
            continue
        kind = f"{key.slot.kind} plugin" if key.slot else describe(key.annotation)
        default = key.slot.default if key.slot else key.default
        if key.many:
            kind, default = f"[{kind}, ...]", []
        shown = "required" if key.required or default is MISSING else json.dumps(default, default=str)
        yield key.name, kind, shown, key.doc


def describe(annotation: Any) -> str:
    """A type as a user reads it: `int > 0`, `auto | int >= 1`, `float in [0, 1)`."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = [text for extra in args[1:] for text in _limits(extra)]
        auto = f"{AUTO} | " if _marked(annotation, "Candidates") else ""
        return auto + " ".join([describe(args[0]), *limits])
    if origin is typing.Literal:
        return " | ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(describe(arg) for arg in args)
    if origin is tuple:
        inner = describe(args[0])
        return f"[{inner}, ...]" if args[-1] is Ellipsis else "[" + ", ".join(describe(arg) for arg in args) + "]"
    if annotation is type(None):
        return "null"
    return {"str": "text", "Path": "path"}.get(
        getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation))
    )


def json_schema(cls: type[Any], registry: Registry, inside: tuple[str, ...] = ()) -> dict[str, Any]:
    """JSON Schema (2020-12) of a block; editors use it to complete and check scene files.

    A plugin may hold others of its own kind, and those again. Inside blocks of the kinds `inside` only their `type` is
    told, so that the schema ends.
    """
    properties: dict[str, Any] = {}
    for key in keys(cls):
        if key.slot is not None:
            inner = _slot_schema(key.slot.kind, registry, inside, typed=key.many or key.slot.default is None)
            properties[key.name] = {"anyOf": [{"type": "array", "items": inner}, inner]} if key.many else dict(inner)
        elif key.block is not None:
            block = json_schema(key.block, registry, inside)
            short = block["properties"].get(getattr(key.block, "shorthand", None))
            properties[key.name] = {"anyOf": [block, short]} if short else block
        else:
            own = TypeAdapter(key.annotation).json_schema()
            properties[key.name] = {"anyOf": [{"const": AUTO}, own]} if key.candidates else own
            if key.default is not MISSING:
                properties[key.name]["default"] = _plain(key.default)
        if key.doc:
            properties[key.name]["description"] = key.doc
    required = [key.name for key in keys(cls) if key.required]
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _slot_schema(kind: str, registry: Registry, inside: tuple[str, ...], *, typed: bool) -> dict[str, Any]:
    names = registry.names(kind)
    choices: list[dict[str, Any]] = [{"type": "string", "enum": names}]
    if kind in inside:
        block = {"type": "object", "properties": {"type": {"enum": names}}, "additionalProperties": True}
        return {"anyOf": [*choices, {**block, "required": ["type"] if typed else []}]}
    for name in names:
        try:
            block = json_schema(registry.find(kind, name).load(), registry, (*inside, kind))
        except PluginError:  # `plugins list` and `doctor` say what is broken; the schema goes on without it
            continue
        block["properties"] = {"type": {"const": name}, **block["properties"]}
        block["required"] = [*(["type"] if typed else []), *block.get("required", [])]
        choices.append(block)
    return {"anyOf": choices}


@functools.cache  # reading the source is nearly all that checking a scene takes, and a sweep checks hundreds
def _attribute_docs(cls: type[Any]) -> dict[str, str]:
    """The text literal below each field of a class, its first line. Python drops these; the source has them."""
    docs: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        except (OSError, TypeError, SyntaxError):  # a class made at run time has no source; its keys go undocumented
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for before, after in itertools.pairwise(body):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[name] = " ".join(text.split())
    return docs


def _marked(annotation: Any, mark: str) -> Any:
    from fieldengine import protocols  # which import torch; `--help` must not

    kind = getattr(protocols, mark)
    return next((extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, kind)), None)


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _literals(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [value for arg in typing.get_args(annotation) for value in _literals(arg)]


def _limits(extra: Any) -> Iterator[str]:
    for part in getattr(extra, "metadata", None) or [extra]:
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
            if getattr(part, name, None) is not None:
                yield f"{sign} {getattr(part, name)}"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())  # a run folder is read from other working directories
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _show(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
