"""Keys and types as a user reads them."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any

from fieldengine.config.keys import AUTO, keys, marked
from fieldengine.kinds.kind import Candidates


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
        kind = f"{key.slot.kind.group} plugin" if key.slot else describe(key.annotation)
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
        auto = f"{AUTO} | " if marked(annotation, Candidates) else ""
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


def _limits(extra: Any) -> Iterator[str]:
    for part in getattr(extra, "metadata", None) or [extra]:
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
            if getattr(part, name, None) is not None:
                yield f"{sign} {getattr(part, name)}"
