"""Adam, with settings of their own for the parts that ask for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fieldengine.ops import adam_where_touched
from fieldengine.types import AdamSettings


def adam(modules: Iterable[nn.Module], lr: float) -> Adam:
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
    return Adam(
        [
            {
                "params": parameters,
                "lr": lr * settings.lr_scale,
                "base_lr": lr * settings.lr_scale,
                "betas": settings.betas,
                "eps": settings.eps,
                "weight_decay": settings.weight_decay,
                "sparse": settings.sparse,
            }
            for settings, parameters in groups.items()
        ],
        fused=True,
    )


class Adam(torch.optim.Adam):
    """torch's Adam, but for groups marked `sparse`, whose tables move only where a step touched them."""

    def __init__(self, groups: list[dict[str, Any]], **settings: Any):
        super().__init__(groups, **settings)
        self._sums: dict[nn.Parameter, Tensor] = {}

    def step(self, closure: Any = None) -> Any:
        tables = {p: p.grad for g in self.param_groups if g["sparse"] for p in g["params"] if p.grad is not None}
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter in tables:
                    self._step_where_touched(parameter, group)
                    parameter.grad = None  # so that torch's step passes it by
        loss = super().step(closure)
        for parameter, gradient in tables.items():
            parameter.grad = gradient
        return loss

    def _step_where_touched(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state.update({name: torch.zeros_like(parameter) for name in ("step", "exp_avg", "exp_avg_sq")})
        if gradient.is_sparse and parameter not in self._sums:
            self._sums[parameter] = torch.zeros_like(parameter)
        adam_where_touched(
            parameter,
            gradient,
            state["exp_avg"],
            state["exp_avg_sq"],
            state["step"],
            lr=group["lr"],
            betas=tuple(group["betas"]),  # a list, where it comes from a checkpoint
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            sums=self._sums.get(parameter),
        )


def clip(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale all gradients so that their norm together is at most `most`; sparse ones too."""
    gradients = []
    for parameter in parameters:
        if parameter.grad is not None:
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()  # rows that occur twice add up before they are squared
            gradients.append(parameter.grad.values() if parameter.grad.is_sparse else parameter.grad)
    if not gradients:
        return
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Multiply every group's base rate; returns the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return optimizer.param_groups[0]["lr"]
