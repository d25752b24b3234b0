"""Looking at what a plugin returned, and at how a module answers, without leaving a trace in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fieldengine.errors import PluginError


def described(found: Any) -> str:
    """What was returned, in words."""
    if not isinstance(found, Tensor):
        return type(found).__name__
    return f"{str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}"


def is_module(found: Any, verb: str, expected: str) -> None:
    """Raise PluginError where what `verb` returned is no nn.Module."""
    if not isinstance(found, nn.Module):
        raise PluginError(f"expected {expected} of {verb}, found {described(found)}; it must be an nn.Module")


def has_methods(found: Any, what: str, *names: str) -> None:
    """Raise PluginError where what was built lacks a method that its kind promises."""
    missing = [name for name in names if not callable(getattr(found, name, None))]
    if missing:
        raise PluginError(f"{type(found).__name__} has no {' and no '.join(missing)}(), which {what} needs")


def carries_gradient(module: Any, *answers: Any) -> None:
    """Raise PluginError where a module has parameters to train, and none of its answers leads back to them."""
    trained = any(p.requires_grad for p in module.parameters())
    if trained and not any(isinstance(y, Tensor) and y.requires_grad for y in answers):
        raise PluginError(
            f"expected what {type(module).__name__} returns to carry gradient to its parameters; it has none"
        )


def on_trial(module: nn.Module, x: Tensor, method: str = "forward") -> Any:
    """What a module answers to x in evaluation mode, with its graph; random numbers stay as they were."""
    answer = module if method == "forward" else getattr(module, method)
    training = module.training
    state = torch.random.get_rng_state()
    module.eval()
    try:
        with torch.enable_grad():
            return answer(x)
    finally:
        module.train(training)
        torch.random.set_rng_state(state)
