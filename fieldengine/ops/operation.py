"""Operations: functions of this package in plain torch, the references, each of which a backend may run faster."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

import torch
from torch import Tensor

from fieldengine.ops.backends import REFERENCE, SWITCH, note, twins

P = ParamSpec("P")
R = TypeVar("R")

PRECISIONS = ({torch.float32}, {torch.float64})


class Operation(Protocol, Generic[P, R]):
    """A function that picks its backend, and `reference`, the same in plain torch."""

    reference: Callable[P, R]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


def operation(reference: Callable[P, R]) -> Operation[P, R]:
    """Make a reference an operation: a call goes to the first twin that suits its arguments."""
    module, name = reference.__module__.rpartition(".")[2], reference.__name__

    @functools.wraps(reference)
    def dispatch(*args: Any, **kwargs: Any) -> R:
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            args, kwargs = tuple(map(_in_float32, args)), {key: _in_float32(x) for key, x in kwargs.items()}
        device = _suited_device((*args, *kwargs.values()))
        if torch.compiler.is_compiling():
            from fieldengine.ops import tracing  # only here, for it loads torch's compiler, which takes a second

            if tracing.has_twins(module, name, device):
                return tracing.outside_the_graph(chosen, args, kwargs)
            tracing.note(name, REFERENCE)
            return reference(*args, **kwargs)
        if any(map(_is_transformed, _tensors((*args, *kwargs.values())))):
            device = None
        for backend, twin in twins(module, name, device, os.environ.get(SWITCH, "")):
            result = twin(*args, **kwargs)
            if result is not NotImplemented:
                note(name, backend)
                return result
        note(name, REFERENCE)
        return reference(*args, **kwargs)

    chosen = cast(Any, dispatch)
    chosen.reference = reference
    # torch compiles a few variants of a code object and then gives up, so no two operations may share one
    chosen.__code__ = chosen.__code__.replace(co_name=name)
    return chosen


def _in_float32(argument: Any) -> Any:
    """Only matrix products are half, whatever torch.autocast made of an operation's arguments before."""
    half = isinstance(argument, Tensor) and argument.dtype in (torch.bfloat16, torch.float16)
    return argument.float() if half else argument


def _suited_device(arguments: Iterable[Any]) -> torch.device | None:
    """Where all tensors lie, if they lie in one place and all real ones share one precision that twins know."""
    devices, precisions = set(), set()
    for tensor in _tensors(arguments):
        devices.add(tensor.device)
        if tensor.is_floating_point():
            precisions.add(tensor.dtype)
    return devices.pop() if len(devices) == 1 and precisions in PRECISIONS else None


def _is_transformed(tensor: Tensor) -> bool:
    """Whether it stands for many numbers, as inside torch.func.vmap or grad; a twin would see one of them, or none."""
    core: Any = torch._C
    return core._functorch.is_functorch_wrapped_tensor(tensor)


def _tensors(arguments: Iterable[Any]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif hasattr(type(argument), "__dataclass_fields__"):
            yield from (value for value in vars(argument).values() if isinstance(value, Tensor))
