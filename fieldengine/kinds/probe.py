"""Looking at what a plugin returned, and at how a module answers, without leaving a trace in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from fieldengine.errors import PluginError


def described(found: Any) -> str:
    """What was returned, in words."""
    if not isinstance(found, Tensor):
        return type(found).__name__
    return f"{str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}"


def is_count(found: Any, least: int = 1) -> TypeGuard[int]:
    """Whether it is a whole number, at least `least`."""
    return isinstance(found, int) and not isinstance(found, bool) and found >= least


def is_module(found: Any, verb: str, expected: str) -> None:
    """Raise PluginError where what `verb` returned is no nn.Module, or one whose state no checkpoint holds."""
    if not isinstance(found, nn.Module):
        raise PluginError(f"expected {verb} to return {expected}, found {described(found)}; it must be an nn.Module")
    for name, value in found.state_dict().items():
        if not isinstance(value, Tensor):
            raise PluginError(f"expected tensors in the state of {type(found).__name__}; {name} is {described(value)}")


def has_methods(found: Any, what: str, **methods: tuple[str, ...]) -> None:
    """Raise PluginError where what was built lacks a method that its kind promises, or one takes other arguments."""
    missing = [name for name in methods if not callable(getattr(found, name, None))]
    if missing:
        raise PluginError(f"{type(found).__name__} has no {' and no '.join(missing)}(), which {what} needs")
    for name, arguments in methods.items():
        takes(getattr(found, name), f"{type(found).__name__}.{name}", arguments)


def takes(method: Callable[..., Any], name: str, arguments: tuple[str, ...]) -> None:
    """Raise PluginError where a method cannot be called with these arguments; those after a `*` come by keyword."""
    try:
        signature = inspect.signature(method)
    except ValueError:  # some callables of other languages have none
        return
    by_place = arguments[: arguments.index("*")] if "*" in arguments else arguments
    by_name = arguments[len(by_place) + 1 :]
    try:
        signature.bind(*by_place, **dict.fromkeys(by_name))
    except TypeError as reason:
        raise PluginError(f"expected {name}({', '.join(arguments)}), found {name}{signature}: {reason}") from reason


def carries_gradient(module: Any, *answers: Any) -> None:
    """Raise PluginError where a module has parameters to train, and none of its answers leads back to them."""
    trained = any(p.requires_grad for p in module.parameters())
    if trained and not any(isinstance(y, Tensor) and y.requires_grad for y in answers):
        raise PluginError(
            f"expected what {type(module).__name__} returns to carry gradient to its parameters; it has none"
        )


def on_trial(module: nn.Module, ask: Callable[[], Any]) -> Any:
    """What a module answers, in evaluation mode with its graph; random numbers stay as they were."""
    training = module.training
    state = torch.random.get_rng_state()
    module.eval()
    try:
        with torch.enable_grad():
            return ask()
    finally:
        module.train(training)
        torch.random.set_rng_state(state)
