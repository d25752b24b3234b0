"""One dispatch: every function of this package is plain torch, the reference; some have a faster twin beside it.

The twin of `fieldengine.ops.NAME.f` is `fieldengine.ops.cpu.NAME.f`: same arguments, same numbers up to rounding, same
gradients. It is taken for tensors on the CPU. FIELDENGINE_KERNELS=reference switches every twin off.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

import torch
from torch import Tensor

from fieldengine.errors import FieldEngineError

SWITCH = "FIELDENGINE_KERNELS"

P = ParamSpec("P")
R = TypeVar("R")


class WithTwin(Protocol, Generic[P, R]):
    """A function that picks its backend, and `reference`, the same in plain torch."""

    reference: Callable[P, R]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


def has_twin(reference: Callable[P, R]) -> WithTwin[P, R]:
    """Mark a reference that has a twin for the CPU, in the file of the same name in `ops/cpu`."""
    module, name = reference.__module__.rpartition(".")[2], reference.__name__

    @functools.wraps(reference)
    def dispatch(*args: Any, **kwargs: Any) -> R:
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            args, kwargs = tuple(map(_in_float32, args)), {name: _in_float32(x) for name, x in kwargs.items()}
        if _suits_the_twins((*args, *kwargs.values())):
            return getattr(_twins(module), name)(*args, **kwargs)
        return reference(*args, **kwargs)

    chosen = cast(Any, dispatch)
    chosen.reference = reference
    return chosen


def _in_float32(argument: Any) -> Any:
    """Only matrix products are half, whatever torch.autocast made of an operation's arguments before."""
    half = isinstance(argument, Tensor) and argument.dtype in (torch.bfloat16, torch.float16)
    return argument.float() if half else argument


def _suits_the_twins(arguments: Iterable[Any]) -> bool:
    """Whether all tensors lie on the CPU and all real ones share one precision, and nobody traces the program."""
    if torch.compiler.is_compiling() or os.environ.get(SWITCH) == "reference":
        return False
    floating = set()
    for tensor in _tensors(arguments):
        if tensor.device.type != "cpu":
            return False
        if tensor.is_floating_point():
            floating.add(tensor.dtype)
    return len(floating) == 1 and floating <= {torch.float32, torch.float64}


def _tensors(arguments: Iterable[Any]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif dataclasses.is_dataclass(argument):
            yield from (value for value in vars(argument).values() if isinstance(value, Tensor))


@functools.cache
def _twins(module: str) -> Any:
    try:
        return import_module(f"fieldengine.ops.cpu.{module}")
    except ImportError as reason:
        raise FieldEngineError(
            f"the CPU kernels need numba, which cannot be imported: {reason}. Install it with `pip install numba`, "
            f"or set {SWITCH}=reference to use plain torch, which is many times slower"
        ) from reason
