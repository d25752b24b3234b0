"""The one place where plugins are called.

A plugin's options, wherever a scene names them, are held as a `Guest`. What the engine, or another plugin, calls of
them goes through here: names are matched, answers are checked as the kind says, and whatever goes wrong is reported as
the plugin's, with its distribution, version, file and line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from fieldengine.errors import FieldEngineError, PluginError, is_out_of_memory
from fieldengine.kinds.kind import Verb
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
            with called(self.plugin, name):
                found = offered(method, known)
                verb.check(found, known)
                return found
        except RefusalError:
            raise
        except ValueError as reason:
            raise RefusalError(str(reason), f"{self.where} ({self.plugin.name})".strip()) from reason

    def __repr__(self) -> str:
        return repr(self.options)

    def __eq__(self, other: object) -> bool:
        return self.options == (other.options if isinstance(other, Guest) else other)

    def __hash__(self) -> int:
        return hash(self.options)


def plugin_of(options: Any) -> Plugin:
    """The plugin that a scene's options are of."""
    assert isinstance(options, Guest), "options of a scene are guests"
    return options.plugin


@contextmanager
def called(plugin: Plugin, what: str) -> Iterator[None]:
    """Inside the block a plugin does `what`. An exception of its own becomes a PluginError that says where it arose.

    ValueError passes: by it a plugin refuses. So do our own errors, which gain the plugin's name where they have none.
    """
    try:
        yield
    except PluginError as reason:
        raise (reason if reason.distribution else plugin.error(reason.reason)) from reason
    except (FieldEngineError, ValueError):
        raise
    except Exception as reason:  # a stranger's code may raise anything
        if is_out_of_memory(reason):
            raise
        raise plugin.error(failure(plugin, what, reason)) from reason


def failure(plugin: Plugin, what: str, reason: BaseException) -> str:
    """`failed in WHAT with TypeError: ... (file:line)`."""
    place = place_of(plugin, reason.__traceback__)
    return f"failed in {what} with {type(reason).__name__}: {reason}{f' ({place})' if place else ''}"


def offered(method: Callable[..., Any], known: Mapping[str, Any]) -> Any:
    """Call a method with those of the known things that it names. Raises PluginError where it names anything else."""
    wanted = inspect.signature(method).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted.values()):
        return method(**known)
    unknown = [name for name, parameter in wanted.items() if name not in known and parameter.default is parameter.empty]
    if unknown:
        offers = ", ".join(known)
        raise PluginError(f"{method.__qualname__} asks for {', '.join(unknown)}; the engine offers {offers}")
    return method(**{name: known[name] for name in wanted if name in known})


def place_of(plugin: Plugin, trace: TracebackType | None) -> str:
    """`file:line` of the innermost call in the plugin's own code; empty where there is none."""
    root, place = plugin.root, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if root is not None and Path(file).is_relative_to(root):
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def blamed(plugins: Iterable[Plugin], reason: BaseException) -> Plugin | None:
    """The plugin of another distribution in whose code an exception arose, the innermost one; None where in none."""
    strangers = [plugin for plugin in plugins if not plugin.is_own and plugin.root is not None]
    found, trace = None, reason.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        found = next((plugin for plugin in strangers if file.is_relative_to(plugin.root or "")), found)
        trace = trace.tb_next
    return found
