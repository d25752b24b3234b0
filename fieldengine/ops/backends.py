"""The backends: where the twins of an operation are, which is taken first, and which one ran.

An operation `fieldengine.ops.NAME.f` may have a twin PACKAGE.NAME.f in the package of any backend: same arguments, same
numbers up to rounding, same gradients. A twin that does not suit its arguments returns NotImplemented, and the next
backend is asked, in the end the reference, which is plain torch and runs anywhere.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch

from fieldengine.errors import FieldEngineError

SWITCH = "FIELDENGINE_KERNELS"
REFERENCE = "reference"

Twin = Callable[..., Any]


class Backend(NamedTuple):
    """Where twins are and what they take.

    Attributes:
        device: the type of device whose tensors its twins take.
        package: where its twins are.
    """

    device: str
    package: str


BACKENDS = {  # by the name of the library they are written in, the preferred one first
    "numba": Backend("cpu", "fieldengine.ops.cpu"),
    "triton": Backend("cuda", "fieldengine.ops.triton"),
}


def preferred(switch: str | None = None) -> list[str]:
    """The backends that FIELDENGINE_KERNELS, or `switch`, names in order; all where it names none.

    What comes after `reference` is never reached, and is left out with it. Raises FieldEngineError at an unknown name.
    """
    wanted = os.environ.get(SWITCH, "") if switch is None else switch
    names = [name for name in map(str.strip, wanted.split(",")) if name] or list(BACKENDS)
    known = [REFERENCE, *BACKENDS]
    for name in names:
        if name not in known:
            raise FieldEngineError(
                f"{SWITCH}={wanted}: there is no backend {name!r}. Name some of {', '.join(known)}, the preferred one "
                "first, with commas between them, or none to use them all"
            )
    return list(itertools.takewhile(lambda name: name != REFERENCE, names))


@functools.cache
def twins(module: str, name: str, device: torch.device | None, switch: str) -> tuple[tuple[str, Twin], ...]:
    """The backends that have a twin of an operation for a device, each with its twin, the preferred one first.

    Raises FieldEngineError where one is there and cannot be imported: a slower one must not run unnoticed.
    """
    if device is None:
        return ()
    suited = [backend for backend in preferred(switch) if BACKENDS[backend].device == device.type]
    found = [(backend, _twin(backend, module, name)) for backend in suited]
    return tuple((backend, twin) for backend, twin in found if twin is not None)


def _twin(backend: str, module: str, name: str) -> Twin | None:
    path = f"{BACKENDS[backend].package}.{module}"
    try:
        return getattr(import_module(path), name, None)
    except ImportError as reason:
        if isinstance(reason, ModuleNotFoundError) and f"{path}.".startswith(f"{reason.name}."):
            return None  # the backend, or its file for this operation, does not exist
        raise FieldEngineError(
            f"the kernels in {path} need {backend}, which cannot be imported: {reason}. Install it with "
            f"`pip install {backend}`, or set {SWITCH}={REFERENCE} to use plain torch, which is many times slower"
        ) from reason


class Record:
    """Which backends ran what was called, in any thread, inside `with record:`."""

    def __init__(self) -> None:
        self._pairs: set[tuple[str, str]] = set()

    def __enter__(self) -> Record:
        _records.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _records.remove(self)

    def add(self, operation: str, backend: str) -> None:
        self._pairs.add((operation, backend))

    def by_operation(self) -> dict[str, str]:
        """Operation -> backend, sorted by name. Where several had a part, a list as FIELDENGINE_KERNELS takes it."""
        pairs = itertools.groupby(sorted(self._pairs), key=lambda pair: pair[0])
        return {operation: ",".join(backend for _, backend in ran) for operation, ran in pairs}


_records: list[Record] = []


def note(operation: str, backend: str) -> None:
    """Tell the open records which backend runs an operation."""
    for record in _records:
        record.add(operation, backend)
