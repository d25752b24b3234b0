"""What all kinds of plugin have in common: their entry-point group, their words, and what is called of a plugin.

A plugin is a frozen dataclass of options, found by entry point. Its fields are the keys of its scene block: type,
default, and a docstring line below each. An annotation that is a kind's options protocol makes a key that holds another
plugin: `encoding: EncodingOptions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

API_VERSIONS = (1,)  # a class may carry `api_version = 1`; an engine that does not know the number refuses it by name
Check = Callable[[Any, Mapping[str, Any]], None]
CheckClass = Callable[[type[Any]], None]


@dataclass(frozen=True)
class Verb:
    """A method that is called of a plugin.

    Attributes:
        offers: what a caller offers, in the order of positional arguments. A plugin's method receives, by keyword,
            those of them that it names.
        needs: which of them it must name.
        check: looks at what was returned; gets that and what was offered, and raises PluginError where it is not what
            the kind promises.
    """

    offers: tuple[str, ...]
    needs: tuple[str, ...] = ()
    check: Check = lambda found, known: None


@dataclass(frozen=True)
class Kind:
    """A kind of plugin.

    Attributes:
        group: the entry-point group without its `fieldengine.` prefix, plural; `word` is one of them, in messages.
        options: the protocol that annotates a key which holds a plugin of this kind.
        verbs: what is called of a plugin.
        default: the plugin that such a key holds when it is not written; None makes the key required.
        constants: class variables that a plugin needs, and their types.
        check_class: looks at a plugin's class, which has them and the verbs; raises PluginError.
    """

    group: str
    word: str
    options: type[Any]
    verbs: Mapping[str, Verb]
    default: str | None = None
    constants: Mapping[str, type[Any]] = field(default_factory=dict)
    check_class: CheckClass = lambda cls: None


@dataclass(frozen=True)
class Slot:
    """Gives a key that holds a plugin a default of its own: `Annotated[EncodingOptions, Slot("identity")]`."""

    default: str


@dataclass(frozen=True, init=False)
class Candidates:
    """Marks a number that a scene may leave `auto`: `omega: Annotated[float, Candidates(10, 20, 40)] = 30.0`.

    The engine then takes the one of these with which the untrained field has most nearly the spectrum of the data. The
    class receives a number; its default stands in until one is chosen.
    """

    values: tuple[float, ...]

    def __init__(self, *values: float):
        object.__setattr__(self, "values", values)


class Module(Protocol):
    """What is used of every `torch.nn.Module`: types know no module that also keeps a kind's promises."""

    training: bool

    def state_dict(self) -> Mapping[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any: ...
    def to(self, device: torch.device, /) -> Any: ...
    def modules(self) -> Any: ...
    def named_modules(self) -> Any: ...
    def parameters(self) -> Any: ...
