"""Exporters: what leaves the engine as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import described
from fieldengine.kinds.renderer import Renderer
from fieldengine.types import Domain


class Trained(Protocol):
    """A field and all that is needed to use it, without the data it was trained on."""

    field: nn.Module
    renderer: Renderer
    domain: Domain
    recipe: dict[str, Any]


class Exporter(Protocol):
    """Options of an exporter, which is used as it is; `fieldengine export NAME RUN --out FILE` calls `write`."""

    def write(self, trained: Trained, out: Path) -> str:
        """Writes the file and returns one sentence about it.

        Raises ValueError where this field cannot be exported so.
        """
        ...


def check_sentence(found: Any, known: Mapping[str, Any]) -> None:
    if not isinstance(found, str):
        raise PluginError(f"expected write to return a sentence about the file, found {described(found)}")


KIND = Kind(
    group="exporters",
    word="exporter",
    options=Exporter,
    verbs={"write": Verb(("trained", "out"), ("trained", "out"), check_sentence)},
)
