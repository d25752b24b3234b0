"""Adam, with settings of their own for the parts that ask for them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from fieldengine.types import AdamSettings


def adam(modules: Iterable[nn.Module], lr: float) -> torch.optim.Adam:
    """One Adam over all parameters, a group for each different AdamSettings.

    A module asks for settings by an attribute `adam`; they hold for its own parameters and those below it that ask
    for none. Each group keeps `base_lr`, which schedules multiply.
    """
    groups: dict[AdamSettings, list[nn.Parameter]] = {}
    seen: set[int] = set()

    def visit(module: nn.Module, settings: AdamSettings) -> None:
        own = getattr(module, "adam", None)
        settings = own if isinstance(own, AdamSettings) else settings
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                groups.setdefault(settings, []).append(parameter)
        for child in module.children():
            visit(child, settings)

    for module in modules:
        visit(module, AdamSettings())
    return torch.optim.Adam(
        [
            {
                "params": parameters,
                "lr": lr * settings.lr_scale,
                "base_lr": lr * settings.lr_scale,
                "betas": settings.betas,
                "eps": settings.eps,
                "weight_decay": settings.weight_decay,
            }
            for settings, parameters in groups.items()
        ],
        fused=True,
    )


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Multiply every group's base rate; returns the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return optimizer.param_groups[0]["lr"]
