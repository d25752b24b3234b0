"""JSON Schema of blocks, with the plugins that are installed."""

from __future__ import annotations

from dataclasses import MISSING
from typing import Any

from fieldengine.config.keys import AUTO, keys, plain_value
from fieldengine.errors import PluginError
from fieldengine.plugins.registry import Registry


def json_schema(cls: type[Any], registry: Registry, inside: tuple[str, ...] = ()) -> dict[str, Any]:
    """JSON Schema (2020-12) of a block; editors use it to complete and check scene files.

    A plugin may hold others of its own kind, and those again. Inside blocks of the kinds `inside` only their `type` is
    told, so that the schema ends.
    """
    properties: dict[str, Any] = {}
    for key in keys(cls):
        if key.slot is not None:
            inner = _slot_schema(key.slot.kind.group, registry, inside, typed=key.many or key.slot.default is None)
            properties[key.name] = {"anyOf": [{"type": "array", "items": inner}, inner]} if key.many else dict(inner)
        elif key.block is not None:
            block = json_schema(key.block, registry, inside)
            short = block["properties"].get(getattr(key.block, "shorthand", None))
            properties[key.name] = {"anyOf": [block, short]} if short else block
        else:
            assert key.adapter is not None
            own = key.adapter.json_schema()
            properties[key.name] = {"anyOf": [{"const": AUTO}, own]} if key.candidates else own
            if key.default is not MISSING:
                properties[key.name]["default"] = plain_value(key.default)
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
