"""Checks of what the parts of a fit return, and errors in the name of the part that is at fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from fieldengine.errors import FieldEngineError, PluginError, TrainingError, is_out_of_memory
from fieldengine.kinds.hook import UNCHANGED, Order
from fieldengine.kinds.probe import described
from fieldengine.plugins.blame import blamed
from fieldengine.plugins.registry import Plugin
from fieldengine.training.fit import Fit
from fieldengine.types import Batch

Found = TypeVar("Found")
LOGGED = ("step", "seconds", "loss", "penalty", "psnr_batch", "lr", "items")  # names in metrics.jsonl that are taken


@contextmanager
def hook_call(fit: Fit, hook: Any, what: str) -> Iterator[None]:
    """Inside the block a hook does `what`.

    Its tensors stay float32 where training takes bfloat16. An exception in it is reported under the hook's name, with
    its file and line; one in a stranger's encoding, say, that the hook asked, under that one's.
    """
    try:
        with torch.autocast(fit.context.device.type, enabled=False):
            yield
    except PluginError as reason:
        if reason.distribution:
            raise
        raise part_error(fit, hook, reason.reason) from reason
    except FieldEngineError:
        raise
    except (Exception, SystemExit) as reason:  # a stranger's code may raise anything
        own, fault = plugin_of_part(fit, hook), blamed(fit.plugins, reason)
        if is_out_of_memory(reason) or (own is not None and own.is_own and fault is None):
            raise
        if fault is not None and fault.plugins != (own,):
            raise TrainingError(str(fault.error(reason))) from reason
        said = f"failed in {what} with {type(reason).__name__}: {reason}{f' ({fault.place})' if fault else ''}"
        raise TrainingError(str(part_error(fit, hook, said))) from reason


def checked_state(found: Any) -> Mapping[str, Any]:
    """The state of a hook. Raises PluginError where a checkpoint cannot hold it."""
    if not isinstance(found, Mapping):
        raise PluginError(f"expected state_dict() to return a mapping, found {described(found)}")
    for name, value in named_leaves(found):
        if not isinstance(value, Tensor | str | int | float | None):
            raise PluginError(f"expected state_dict() to hold tensors, numbers and texts; {name} is {described(value)}")
    return found


def named_leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What mappings and sequences hold, those inside of them opened."""
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else None
    if pairs is None:
        yield name, tree
    else:
        for key, value in pairs:
            yield from named_leaves(value, f"{name}.{key}" if name else str(key))


def checked(fit: Fit, part: Any, check: Callable[..., None], found: Found, *known: Any) -> Found:
    """What a part of the fit returned, once a check has seen it. Raises PluginError in the part's name."""
    try:
        check(found, *known)
    except PluginError as reason:
        raise part_error(fit, part, reason.reason) from reason
    return found


def part_error(fit: Fit, part: Any, reason: str) -> PluginError:
    """What is wrong with a part of the fit, in the name of the plugin that it comes from."""
    plugin = plugin_of_part(fit, part)
    return PluginError(reason, plugin=type(part).__name__) if plugin is None else plugin.error(reason)


def plugin_of_part(fit: Fit, part: Any) -> Plugin | None:
    return next((plugin for known, plugin in fit.provenance if known is part), None)


def checked_indices(indices: Tensor, n_items: int) -> Tensor:
    """Item numbers as a sampler gave them. Raises PluginError that says what is wrong with them."""
    if not isinstance(indices, Tensor) or indices.dtype != torch.int64 or indices.ndim != 1 or not len(indices):
        raise PluginError(f"`select` returned {described(indices)}; expected an int64 tensor (n,), n >= 1")
    low, high = torch.stack(indices.aminmax()).tolist()  # one wait for the device
    if low < 0 or high >= n_items:
        raise PluginError(f"`select` returned items {low} to {high}; there are 0 to {n_items - 1}")
    return indices


def ordered(batch: Batch, order: Order) -> tuple[Batch, list[int] | None]:
    """The batch in the order a transform asked for, once that is known to hold every item, and its blocks' lengths."""
    if order is None or order is UNCHANGED:
        return batch, None
    whole = order if isinstance(order, Tensor) else _joined(order)
    if not is_permutation(whole, len(batch)):
        raise PluginError(f"the order of `prepare` is not a permutation of the {len(batch)} items of the batch")
    return batch[whole], None if order is whole else [len(block) for block in order]  # pyright: ignore


def _joined(blocks: Any) -> Tensor:
    if not isinstance(blocks, Sequence) or not all(isinstance(block, Tensor) for block in blocks) or not blocks:
        raise PluginError(
            f"`prepare` returned {described(blocks)}; expected an order (n,), blocks of it, UNCHANGED or None"
        )
    return torch.cat([*blocks])


def is_permutation(order: Tensor, n: int) -> bool:
    """Whether it holds each of 0..n-1 once. A sort would cost as much as a small network's step."""
    if order.dtype != torch.int64 or order.shape != (n,) or (n and (order.min() < 0 or order.max() >= n)):
        return False
    found = torch.zeros(n, dtype=torch.bool, device=order.device)
    found[order] = True
    return bool(found.all())


def checked_cotangent(adjusted: Any, g: Tensor) -> Tensor:
    """A cotangent as a transform gave it. Raises PluginError where it is not like the one it got."""
    if not isinstance(adjusted, Tensor) or adjusted.shape != g.shape or adjusted.dtype != g.dtype:
        raise PluginError(
            f"`adjust` returned {described(adjusted)} for a cotangent {described(g)}; it must preserve shape and dtype"
        )
    return adjusted


def checked_penalty(penalty: Any) -> Tensor:
    """A penalty as a regularizer gave it. Raises PluginError that says what is wrong with it."""
    if not isinstance(penalty, Tensor) or penalty.shape != () or not penalty.requires_grad:
        gradient = "" if getattr(penalty, "requires_grad", False) else " without gradient"
        raise PluginError(
            f"the penalty is {described(penalty)}{gradient}; expected a scalar tensor () that carries gradient"
        )
    return penalty


def check_names(losses: Mapping[str, Tensor]) -> None:
    """Raise PluginError for a loss of the renderer whose name is taken."""
    for name in losses:
        if name in LOGGED:
            raise PluginError(f'a loss of the renderer is called "{name}", as something else in metrics.jsonl is')
