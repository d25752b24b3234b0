"""Losses: how far a rendered value is from its target, per item.

Training takes their mean over the items of a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def mse(values: Tensor, targets: Tensor) -> Tensor:
    """Squared error, mean over channels: (n, c), (n, c) -> (n,)."""
    return (values - targets).square().mean(dim=-1)


def l1(values: Tensor, targets: Tensor) -> Tensor:
    """Absolute error, mean over channels."""
    return (values - targets).abs().mean(dim=-1)


def smooth_l1(values: Tensor, targets: Tensor) -> Tensor:
    """Squared below 0.1, absolute above, mean over channels."""
    return F.smooth_l1_loss(values, targets, reduction="none", beta=0.1).mean(dim=-1)


def relative(values: Tensor, targets: Tensor) -> Tensor:
    """|f - y| / (|y| + 0.01), mean over channels: counts most where the target is near zero, as at a surface."""
    return ((values - targets).abs() / (targets.abs() + 0.01)).mean(dim=-1)


LOSSES: dict[str, Loss] = {"mse": mse, "l1": l1, "smooth_l1": smooth_l1, "relative": relative}


def cotangent(loss: Loss, values: Tensor, targets: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
    """The loss of some items and its gradient in their values, as part of a batch of `n_items`.

    Returns:
        the items' losses (n,), and g = dL/d(values) (n, c) where L is the mean over the whole batch. No graph on
        either.
    """
    with torch.enable_grad():
        leaf = values.detach().requires_grad_()
        losses = loss(leaf, targets)
        (gradient,) = torch.autograd.grad(losses.sum() / n_items, leaf)
    return losses.detach(), gradient
