"""The keys of a block: a frozen dataclass is its schema.

A key's annotation may carry pydantic's constraints (`Annotated[int, Field(gt=0)]`), be the options protocol of a kind
for a nested plugin (`encoding: EncodingOptions`), another dataclass for a plain block, or a `pathlib.Path`, which is
resolved against the file that names it.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from fieldengine.errors import PluginError
from fieldengine.kinds import KINDS
from fieldengine.kinds.kind import Candidates, Kind, Slot

AUTO = "auto"
KIND_OF = {kind.options: kind for kind in KINDS.values()}
Mark = TypeVar("Mark")


@dataclass(frozen=True)
class Held:
    """What a key that holds a plugin holds: its kind, and the plugin where none is written, None where one must be."""

    kind: Kind
    default: str | None


@dataclass(frozen=True)
class Key:
    """One key of a block.

    Attributes:
        default: MISSING where it is required.
        doc: one line about it.
        adapter: checks a value; None for a key that holds a block or a plugin.
        slot, many: what kind of plugin it holds, and whether a list of them.
        candidates: what a number may become that a scene leaves `auto`.
    """

    name: str
    annotation: Any
    default: Any
    doc: str
    adapter: TypeAdapter[Any] | None
    slot: Held | None = None
    many: bool = False
    candidates: tuple[float, ...] = ()

    @property
    def required(self) -> bool:
        return self.default is MISSING and (self.slot is None or self.slot.default is None or self.many)

    @property
    def is_path(self) -> bool:
        """Whether it holds the name of a file or a folder."""
        return Path in _choices(self.annotation)

    @property
    def may_be_null(self) -> bool:
        return type(None) in _choices(self.annotation)

    @property
    def block(self) -> type[Any] | None:
        """The dataclass of a plain nested block, or None."""
        bare = bare_type(self.annotation)
        return bare if isinstance(bare, type) and dataclasses.is_dataclass(bare) else None


def keys(cls: type[Any]) -> Iterator[Key]:
    """The keys of a block, in the order of its dataclass. Raises PluginError where they cannot be read."""
    types_, docs = _types(cls), attribute_docs(cls)
    for entry in dataclasses.fields(cls):
        default = entry.default
        if default is MISSING and entry.default_factory is not MISSING:
            try:
                default = entry.default_factory()
            except Exception as reason:  # a stranger's code may raise anything
                said = f"{type(reason).__name__}: {reason}"
                raise PluginError(f"the default of {cls.__qualname__}.{entry.name} cannot be made: {said}") from reason
        type_ = types_[entry.name]
        some = marked(type_.annotation, Candidates)
        yield Key(
            entry.name,
            type_.annotation,
            default,
            docs.get(entry.name, ""),
            type_.adapter,
            type_.slot,
            type_.many,
            some.values if some else (),
        )


@dataclass(frozen=True)
class _Type:
    """What the annotation of a key says."""

    annotation: Any
    adapter: TypeAdapter[Any] | None
    slot: Held | None
    many: bool


@functools.cache  # making adapters takes longer than all else that checking a scene does
def _types(cls: type[Any]) -> dict[str, _Type]:
    """Of each key of a block its type. Raises PluginError where one cannot be read."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
        return {entry.name: _type(hints[entry.name]) for entry in dataclasses.fields(cls)}
    except Exception as reason:  # an annotation is a stranger's code and may fail in any way
        said = str(reason).partition("\n")[0]
        raise PluginError(f"the types of {cls.__qualname__}'s keys cannot be read: {said}") from reason


def _type(annotation: Any) -> _Type:
    bare, slot, many = bare_type(annotation), held(annotation), False
    if slot is None and typing.get_origin(bare) is tuple:
        slot = held(typing.get_args(bare)[0])
        many = slot is not None
    plain = slot is None and not (isinstance(bare, type) and dataclasses.is_dataclass(bare))
    return _Type(annotation, TypeAdapter(annotation) if plain else None, slot, many)


def held(annotation: Any) -> Held | None:
    """What kind of plugin an annotation stands for; None for any other annotation."""
    parts = [part for part in _choices(annotation) if part is not type(None)]
    kind = KIND_OF.get(parts[0]) if len(parts) == 1 and isinstance(parts[0], type) else None
    slot = marked(annotation, Slot)
    return None if kind is None else Held(kind, slot.default if slot else kind.default)


@functools.cache  # reading the source is nearly all that checking a scene takes, and a sweep checks hundreds
def attribute_docs(cls: type[Any]) -> dict[str, str]:
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


def marked(annotation: Any, mark: type[Mark]) -> Mark | None:
    """What an `Annotated` carries of this type."""
    return next((extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, mark)), None)


def _choices(annotation: Any) -> list[Any]:
    """The types that a union offers; of any other annotation the type itself."""
    bare = bare_type(annotation)
    is_union = typing.get_origin(bare) in (typing.Union, types.UnionType)
    return [bare_type(part) for part in typing.get_args(bare)] if is_union else [bare]


def bare_type(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def plain_value(value: Any) -> Any:
    """A value as YAML holds it."""
    if isinstance(value, Path):
        return str(value.absolute())  # a run folder is read from other working directories
    if isinstance(value, tuple | list):
        return [plain_value(item) for item in value]
    return value
