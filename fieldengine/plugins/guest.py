"""The one place where plugins are called.

A plugin's options, wherever a scene names them, are held as a `Guest`. What the engine, or another plugin, calls of
them goes through here: names are matched, answers are checked as the kind says, and whatever goes wrong is reported as
the plugin's, with its distribution, version, file and line.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fieldengine.kinds.kind import Verb
from fieldengine.plugins.blame import called
from fieldengine.plugins.registry import Plugin


class RefusalError(ValueError):
    """What a plugin refuses by ValueError, and the key of the scene at which it stands."""

    def __init__(self, reason: str, key: str):
        self.key = key
        super().__init__(reason)


class Guest:
    """A plugin's options. Attributes are those of the options; methods that its kind names are called with care."""

    def __init__(self, options: Any, plugin: Plugin, where: str):
        self.options, self.plugin, self.where = options, plugin, where

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("options", "plugin", "where"):  # as while a copy is being made
            raise AttributeError(name)
        found = getattr(self.options, name)
        verb = self.plugin.contract.verbs.get(name)
        return found if verb is None else partial(self._call, name, found, verb)

    def _call(self, name: str, method: Callable[..., Any], verb: Verb, *arguments: Any, **known: Any) -> Any:
        known = {**dict(zip(verb.offers, arguments, strict=False)), **known}
        try:
            with called(name, plugins_of(self)):
                found = offered(method, known)
                verb.check(found, known)
                return found
        except RefusalError:
            raise
        except ValueError as reason:
            owner = "" if self.plugin.is_own else f" of {self.plugin.distribution} {self.plugin.version}"
            raise RefusalError(str(reason), f"{self.where} ({self.plugin.name}{owner})".strip()) from reason

    def __repr__(self) -> str:
        return repr(self.options)

    def __eq__(self, other: object) -> bool:
        return self.options == (other.options if isinstance(other, Guest) else other)

    def __hash__(self) -> int:
        return hash(self.options)


def with_defaults(plugin: Plugin, where: str) -> Any:
    """A plugin's options, each key at its default. Raises PluginError."""
    with called("making its options", [plugin]):
        return Guest(plugin.load()(), plugin, where)


def plugin_of(options: Any) -> Plugin:
    """The plugin that a scene's options are of."""
    assert isinstance(options, Guest), "options of a scene are guests"
    return options.plugin


def plugins_of(*options: Any) -> tuple[Plugin, ...]:
    """The plugins that options are of, and those that their keys hold, outer ones first."""
    found: list[Plugin] = []
    for one in options:
        if isinstance(one, Guest):
            found += [one.plugin, *plugins_of(one.options)]
        elif isinstance(one, tuple | list):
            found += plugins_of(*one)
        elif dataclasses.is_dataclass(one) and not isinstance(one, type):
            found += plugins_of(*(getattr(one, key.name, None) for key in dataclasses.fields(one)))
    return tuple(dict.fromkeys(found))


def offered(method: Callable[..., Any], known: Mapping[str, Any]) -> Any:
    """Call a method with those of the known things that it names; its class was refused if it names anything else."""
    wanted = inspect.signature(method).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted.values()):
        return method(**known)
    return method(**{name: known[name] for name in wanted if name in known})
