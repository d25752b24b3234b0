"""Comparing what a plugin gave with what it gave before; each raises PluginError that says what was expected."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fieldengine.errors import PluginError
from fieldengine.kinds.probe import described
from fieldengine.types import Batch

T = TypeVar("T")
Ask = Callable[[Any, Tensor], Tensor]


def check_module(make: Callable[[], Any], ask: Ask, x: Tensor) -> None:
    """A module whose answer (m, c) to places (m, d) is decided by its seed and its state, row by row."""
    module = seeded(make)
    y = ask(module, x)
    if not bool(y.isfinite().all()):
        raise PluginError(f"expected finite numbers of {type(module).__name__}, found others among {described(y)}")
    if any(p.requires_grad for p in module.parameters()):
        reaches(module, y)
    with torch.no_grad():
        close(torch.cat([ask(module, part) for part in x.split(7)]), y, "rows that do not depend on the others")
        if ask(module, x[:0]).shape != (0, y.shape[1]):
            raise PluginError(f"expected {type(module).__name__} to answer nothing with no rows")
        same(ask(seeded(make), x), y, "the same numbers of the same seed")
        other = seeded(make, seed=1)
        other.load_state_dict(copy.deepcopy(module.state_dict()))
        same(ask(other, x), y, "the same numbers once the state of another is loaded")


def reaches(module: nn.Module, y: Tensor) -> None:
    """Raise PluginError for parameters of a module to which an answer carries no gradient."""
    module.zero_grad()
    (y * torch.rand(y.shape, generator=generator())).sum().backward()
    silent = [name for name, p in module.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    if silent:
        raise PluginError(f"expected gradient in every parameter; none reaches {', '.join(silent)}")
    module.zero_grad()


def same(found: Tensor, expected: Tensor, what: str) -> None:
    if not torch.equal(found, expected):
        raise PluginError(f"expected {what}; found {difference(found, expected)}")


def close(found: Tensor, expected: Tensor, what: str) -> None:
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-4, atol=1e-5):
        raise PluginError(f"expected {what}; found {difference(found, expected)}")


def difference(found: Tensor, expected: Tensor) -> str:
    if found.shape != expected.shape:
        return f"{described(found)} and {described(expected)}"
    return f"some {float((found - expected).detach().abs().max()):.3g} apart"


def same_batch(found: Batch, expected: Batch, what: str) -> None:
    for name in ("targets", "background"):
        parts = getattr(found, name), getattr(expected, name)
        if parts[0] is not None:
            same(*parts, f"{what}; of {name}")
    for name, value in vars(expected.items).items():
        if value is not None:
            same(getattr(found.items, name), value, f"{what}; of items.{name}")


def seeded(make: Callable[[], T], seed: int = 0) -> T:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def places(n: int, dim: int) -> Tensor:
    """Evenly spread in [-1, 1], (n, dim)."""
    return 2 * torch.rand(n, dim, generator=generator()) - 1
