"""What hooks return is looked at before it is used, and what goes wrong in one is reported under its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fieldengine.errors import FieldEngineError, PluginError, TrainingError, is_out_of_memory
from fieldengine.kinds.hook import UNCHANGED, Order
from fieldengine.kinds.probe import described
from fieldengine.plugins.guest import failure
from fieldengine.training.fit import Fit
from fieldengine.types import Batch, Rendered

LOGGED = ("step", "seconds", "loss", "penalty", "psnr_batch", "lr", "items")  # names in metrics.jsonl that are taken


@contextmanager
def hook_call(fit: Fit, hook: Any, what: str) -> Iterator[None]:
    """Inside the block a hook does `what`.

    Its tensors stay float32 where training takes bfloat16. An exception in it is reported under the hook's name, with
    its file and line.
    """
    try:
        with torch.autocast(fit.context.device.type, enabled=False):
            yield
    except PluginError as reason:
        raise PluginError(reason.reason, plugin=hook_name(fit, hook)) from reason
    except FieldEngineError:
        raise
    except Exception as reason:  # a stranger's code may raise anything
        if is_out_of_memory(reason):
            raise
        plugin = next((plugin for known, plugin in fit.provenance if known is hook), None)
        said = f"failed in {what} with {type(reason).__name__}: {reason}"
        raise TrainingError(f"{hook_name(fit, hook)}: {failure(plugin, what, reason) if plugin else said}") from reason


def hook_name(fit: Fit, hook: Any) -> str:
    """A hook as a message names it."""
    plugin = next((plugin for known, plugin in fit.provenance if known is hook), None)
    if plugin is None:
        return type(hook).__name__
    return f'hook "{plugin.name}" of {plugin.distribution} {plugin.version}'


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


def checked_losses(rendered: Rendered, n: int) -> Mapping[str, Tensor]:
    """The losses of a renderer. Raises PluginError for one that is no number per item, or whose name is taken."""
    for name, loss in rendered.losses.items():
        if not isinstance(loss, Tensor) or loss.shape != (n,):
            raise PluginError(f'the loss "{name}" of the renderer is {described(loss)}; expected ({n},), one per item')
        if name in LOGGED:
            raise PluginError(f'a loss of the renderer is called "{name}", as something else in metrics.jsonl is')
    return rendered.losses
