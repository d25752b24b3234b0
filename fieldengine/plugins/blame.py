"""Whose fault it is: an exception becomes an error that names a plugin, its distribution and version, file and line.

Only third-party plugins are blamed. An exception in our own code is a bug and stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from fieldengine.errors import FieldEngineError, PluginError, is_out_of_memory
from fieldengine.plugins.registry import Plugin


@contextmanager
def called(what: str, plugins: Sequence[Plugin]) -> Iterator[None]:
    """Run a block in which the first of these plugins does `what`, with the help of the others.

    An exception in a stranger's code, or from what a stranger passed to ours, becomes a PluginError that names the
    stranger. ValueError passes, since a plugin refuses by it. Our own errors pass too; a PluginError without a name
    gets one.
    """
    try:
        yield
    except PluginError as reason:
        if reason.distribution:
            raise
        raise _suspected(plugins, what, reason.reason) from reason
    except (FieldEngineError, ValueError):
        raise
    except (Exception, SystemExit) as reason:  # a stranger's code may raise anything
        if is_out_of_memory(reason):
            raise
        fault = blamed(plugins, reason)
        if fault is None and all(plugin.is_own for plugin in plugins):
            raise
        said = f"failed in {what} with {type(reason).__name__}: {reason}"
        raise (fault.error(reason) if fault else _suspected(plugins, what, said)) from reason


@contextmanager
def blaming(plugins: Iterable[Plugin], error: Callable[[str], FieldEngineError] | None = None) -> Iterator[None]:
    """Run a block in which an exception in a stranger's code becomes an error that names the stranger.

    Args:
        plugins: those that may be at work.
        error: makes the error from its text, for every PluginError; None leaves it a PluginError.
    """
    try:
        yield
    except PluginError as reason:
        if error is None:
            raise
        raise error(str(reason)) from reason
    except FieldEngineError:
        raise
    except (Exception, SystemExit) as reason:
        fault = None if is_out_of_memory(reason) else blamed(plugins, reason)
        if fault is None:
            raise
        found = fault.error(reason)
        raise (found if error is None else error(str(found))) from reason


@dataclass(frozen=True)
class Fault:
    """Where in a stranger's code an exception arose.

    Attributes:
        plugins: whose code it is; several where they share a module.
        call: the function, by its qualified name.
        place: file and line.
    """

    plugins: tuple[Plugin, ...]
    call: str
    place: str

    def error(self, reason: BaseException) -> PluginError:
        said = f"failed in {self.call} with {type(reason).__name__}: {reason} ({self.place})"
        return _error_of(self.plugins, said)


def blamed(plugins: Iterable[Plugin], reason: BaseException) -> Fault | None:
    """The innermost place in a stranger's code that an exception passed; None if it passed no stranger's code.

    Of an exception raised from another, the other counts.
    """
    strangers = [plugin for plugin in plugins if not plugin.is_own]
    fault, error = None, reason
    while error is not None:
        for frame, line in walk_tb(error.__traceback__):
            owners = _owners(strangers, frame)
            if owners:
                fault = Fault(owners, frame.f_code.co_qualname, f"{frame.f_code.co_filename}:{line}")
        error = error.__cause__
    return fault


def _owners(plugins: Iterable[Plugin], frame: FrameType) -> tuple[Plugin, ...]:
    """The plugins in whose code a frame is; of several in one package those of its module, if any is."""
    file = Path(frame.f_code.co_filename)
    near = tuple(plugin for plugin in plugins if plugin.root is not None and file.is_relative_to(plugin.root))
    module = frame.f_globals.get("__name__")
    return tuple(plugin for plugin in near if plugin.entry_point.module == module) or near


def _suspected(plugins: Sequence[Plugin], what: str, said: str) -> PluginError:
    """The error for an exception outside a stranger's code: it names the called plugin, or a stranger that it holds."""
    first, strangers = plugins[0], [plugin for plugin in plugins if not plugin.is_own]
    if not first.is_own or not strangers:
        return first.error(said)
    return _error_of(strangers, f'with it the {first.contract.word} "{first.name}" fails in {what}: {said}')


def _error_of(plugins: Sequence[Plugin], reason: str) -> PluginError:
    """What is wrong with the first of these plugins or, where nobody can tell, with one of the others."""
    first, *others = plugins
    names = ", ".join(f'{other.kind} plugin "{other.name}" of {other.distribution} {other.version}' for other in others)
    return first.error(f"{reason}. It may also be the fault of {names}" if others else reason)
