"""Everything a training step works with, and what it reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fieldengine.kinds.dataset import Dataset
from fieldengine.kinds.hook import BatchSampler, GradientTransform, Regularizer, Span
from fieldengine.kinds.operator import Operator
from fieldengine.kinds.renderer import Renderer
from fieldengine.plugins.registry import Plugin
from fieldengine.training.ema import Ema
from fieldengine.training.loss import Loss
from fieldengine.types import RunContext


@dataclass
class Fit:
    """Everything a step works with.

    Attributes:
        batch_size: in items.
        tile: the most places that are rendered at once.
        joint: whether values depend on all items of a step together, so that it may not be cut.
        traced: what the renderer asks in a step: the field, or a compiled stand-in for it.
        span: that of the gradient transform, as it was before training.
        provenance: data set, renderer, operator and hooks, each with the plugin that it comes from.
        plugins: all that are at work.
    """

    dataset: Dataset
    field: nn.Module
    renderer: Renderer
    optimizer: torch.optim.Optimizer
    ema: Ema
    loss: Loss
    sampler: BatchSampler
    context: RunContext
    batch_size: int
    tile: int
    operator: Operator
    clip: float | None = None
    joint: bool = False
    transform: GradientTransform | None = None
    span: Span = "item"
    regularizers: Sequence[Regularizer] = ()
    traced: Any = None
    lattices: dict[int, Tensor] = dataclasses.field(default_factory=dict)
    provenance: Sequence[tuple[Any, Plugin]] = ()
    plugins: Sequence[Plugin] = ()

    def __post_init__(self) -> None:
        self.traced = self.traced or self.field

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def lattice(self, per_axis: int) -> Tensor:
        """The uniform grid over the field's box with so many points per axis, (g, d)."""
        if per_axis not in self.lattices:
            self.lattices[per_axis] = self.dataset.domain.aabb.grid(per_axis)
        return self.lattices[per_axis]

    @property
    def tile_of_items(self) -> int | None:
        """The most items of a tile; None where a step may not be cut."""
        if self.joint or self.operator.n_places is None:
            return None
        return max(1, self.tile // self.operator.n_places)


@dataclass(frozen=True)
class StepReport:
    """Mean loss and mean squared error over the items of a step, how many there were, and the sum of all penalties.

    () tensors, no gradient. Of a part of a batch: the sums over the part, divided by the items of the batch.

    Attributes:
        loss: of the data alone; `losses` are those of renderer and ray sampler, by name.
    """

    loss: Tensor
    squared_error: Tensor
    penalty: Tensor
    n_items: int
    losses: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    @classmethod
    def none(cls, device: torch.device) -> StepReport:
        zero = torch.zeros((), device=device)
        return cls(zero, zero, zero, 0)

    def __add__(self, other: StepReport) -> StepReport:
        """Of two parts of one batch."""
        return StepReport(
            self.loss + other.loss,
            self.squared_error + other.squared_error,
            self.penalty + other.penalty,
            self.n_items + other.n_items,
            added(self.losses, other.losses),
        )


def added(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sums of numbers with equal names."""
    both = {**some, **others}
    return {name: some[name] + others[name] if name in some and name in others else one for name, one in both.items()}
