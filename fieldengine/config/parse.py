"""Filling dataclasses from nodes: types, ranges and names are checked, defaults written out, plugins found."""

from __future__ import annotations

import functools
import json
import math
import os
import typing
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fieldengine.config.describe import describe, described
from fieldengine.config.document import Node, Origin, leaves
from fieldengine.config.keys import AUTO, Key, keys, plain_value
from fieldengine.errors import PluginError, SceneError, did_you_mean
from fieldengine.plugins.blame import called
from fieldengine.plugins.guest import Guest
from fieldengine.plugins.registry import Plugin, Registry

LONGEST_NAME = 255  # bytes, of a file or a folder


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
        with called("reading its keys", [plugin]):
            check_keys(cls)
    except PluginError as reason:
        raise chosen.origin.error(str(reason), _join(where, "type")) from reason
    reading.used.append(plugin)
    rest = Node({name: child for name, child in node.value.items() if name != "type"}, node.origin)
    try:
        with called("making its options", [plugin]):
            options, plain = parse(cls, rest, where, reading)
    except PluginError as reason:
        raise node.origin.error(str(reason), where) from reason
    return Guest(options, plugin, where), {"type": chosen.value, **plain}


@functools.cache
def check_keys(cls: type[Any]) -> None:
    """Raise PluginError for a key that a scene cannot have, or whose default would not be read again from one."""
    for key in keys(cls):
        if key.name == "type":
            raise PluginError(f"{cls.__qualname__} has a key called type, by which a scene names plugins")
        if key.default is MISSING or key.adapter is None:
            continue
        try:
            key.adapter.validate_json(json.dumps(plain_value(key.default)), strict=True)
        except (TypeError, ValueError) as reason:
            said = f"expected {describe(key.annotation)}, found {key.default!r}"
            raise PluginError(f"the default of {cls.__qualname__}.{key.name} is not of its type: {said}") from reason


def _parse_key(key: Key, child: Node | None, where: str, parent: Origin, reading: Reading) -> tuple[Any, Any]:
    if key.slot is not None and key.many:
        if child is None or child.value is None:
            return (), []
        reading.origins[where] = child.origin
        items = [child] if isinstance(child.value, str | dict) else child.value  # one of them may stand alone
        if not isinstance(items, list):
            raise child.origin.error(f"expected a list of blocks, found {_show(child.plain())}", where)
        pairs = [parse_plugin(key.slot.kind.group, item, f"{where}.{i}", reading) for i, item in enumerate(items)]
        return tuple(pair[0] for pair in pairs), [pair[1] for pair in pairs]
    if key.slot is not None:
        default = key.slot.default and reading.registry.default(key.slot.kind.group, key.slot.default)
        if isinstance(child, Node) and isinstance(child.value, dict) and "type" not in child.value and default:
            child = Node({"type": Node(default, child.origin), **child.value}, child.origin)
        return parse_plugin(key.slot.kind.group, child or Node(default, parent), where, reading)
    if key.block is not None:
        return parse(key.block, child or Node({}, parent), where, reading)
    if key.candidates:
        reading.candidates[where] = key.candidates
        if child is not None and child.value == AUTO:
            return key.default, AUTO
    if child is None:
        return key.default, plain_value(key.default)
    reading.origins[where] = child.origin
    value = _validate(key, child, where)
    if isinstance(value, Path):
        try:
            value = child.origin.base / value.expanduser()  # an absolute path stays as it is
        except RuntimeError as reason:
            if child.text is None:
                raise child.origin.error(f"names a home folder that does not exist: {value}", where) from reason
            value = child.origin.base / value  # as typed
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in value.parts):
            raise child.origin.error(
                f"a name of a file has at most {LONGEST_NAME} bytes, found {_show(str(value))}", where
            )
    return value, plain_value(value)


def _validate(key: Key, child: Node, where: str) -> Any:
    plain = child.plain() if child.text is None or not key.is_path else _path(key, child.text, child.origin, where)
    endless = [leaf for leaf in leaves(plain) if isinstance(leaf, float) and not math.isfinite(leaf)]
    if endless:
        raise child.origin.error(f"expected a finite number, found {endless[0]}", where)
    try:
        # JSON mode is strict about types, yet takes a list for a tuple, an int for a float and text for a path
        assert key.adapter is not None
        return key.adapter.validate_json(json.dumps(plain), strict=True)
    except ValidationError as reason:
        options = [str(option) for option in _literals(key.annotation)]
        words = [leaf for leaf in leaves(plain) if isinstance(leaf, str) and leaf not in options]
        hint = did_you_mean(words[0], options) if words else ""
        stop = "." if hint else ""
        message = f"{_complaint(options, reason)}, found {_show(plain)}{stop}{hint}"
        raise child.origin.error(message, where) from reason


def _path(key: Key, text: str, origin: Origin, where: str) -> str | None:
    """A path as it was typed in an override, whatever it would mean as YAML; null where the key may be left out."""
    if key.may_be_null and text in ("", "null", "~"):
        return None
    if any("\ud800" <= letter <= "\udfff" for letter in text):  # how Python holds bytes that are not UTF-8
        raise origin.error("is a file name in another encoding than UTF-8; rename the file", where)
    return text


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


def _show(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _literals(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [value for arg in typing.get_args(annotation) for value in _literals(arg)]
