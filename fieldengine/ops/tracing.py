"""Operations in a program that torch.compile traces: twins stay outside its graphs, references become part of them.

A twin is then called as ever, and has its derivatives of every order. For a graph that must be whole, as in strict
export, set FIELDENGINE_KERNELS=reference. What is asked about backends is asked once, while the program is traced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from fieldengine.errors import FieldEngineError
from fieldengine.ops import backends


def has_twins(module: str, name: str, device: torch.device | None) -> bool:
    """Whether the operation `module.name` is to be called outside the graph; torch.export has nothing outside it."""
    return torch.compiler.is_dynamo_compiling() and _has_twins(module, name, device)


@torch.compiler.assume_constant_result
def _has_twins(module: str, name: str, device: torch.device | None) -> bool:
    try:
        return bool(backends.twins(module, name, device, os.environ.get(backends.SWITCH, "")))
    except FieldEngineError:  # the call outside the graph raises it again; here it would become an error of torch's
        return True


@torch.compiler.assume_constant_result
def note(operation: str, backend: str) -> None:
    backends.note(operation, backend)


def _call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return function(*args, **kwargs)


outside_the_graph: Any = torch.compiler.disable(_call)
