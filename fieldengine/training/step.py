"""One training step, read as its stages: refresh, select, fetch, render, loss, adjust, backward, regularise, update.

The loss is a mean over items. Its gradient in the rendered values, the cotangent, is formed explicitly: hooks may
replace it, and back-propagation starts from it. Items are rendered in tiles and gradients add up, so memory does not
depend on the batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fieldengine.errors import FieldEngineError, PluginError, TrainingError, is_out_of_memory
from fieldengine.ntk import jvp, vjp
from fieldengine.protocols import BatchSampler, Dataset, GradientTransform, Regularizer
from fieldengine.training.ema import Ema
from fieldengine.training.loss import Loss, cotangent
from fieldengine.training.optimizer import clip
from fieldengine.types import Batch, Rendered, RunContext

FETCH = 1 << 20  # items whose places and targets are held at once


@dataclass
class Fit:
    """Everything a step works with.

    Attributes:
        batch_size: in items.
        tile: the most items that are rendered at once.
        joint: whether values depend on all items of a step together, so that it may not be cut.
        traced: what the renderer asks in a step: the field, or a compiled stand-in for it.
        owners: the hooks, each with the distribution that provides it, as a message names them.
    """

    dataset: Dataset
    field: nn.Module
    renderer: Any
    optimizer: torch.optim.Optimizer
    ema: Ema
    loss: Loss
    sampler: BatchSampler
    context: RunContext
    batch_size: int
    tile: int
    clip: float | None = None
    joint: bool = False
    transform: GradientTransform | None = None
    regularizers: Sequence[Regularizer] = ()
    grids: list[Tensor] = dataclasses.field(default_factory=list)
    traced: Any = None
    owners: Sequence[tuple[Any, str]] = ()

    def __post_init__(self) -> None:
        self.traced = self.traced or self.field

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


@dataclass(frozen=True)
class StepReport:
    """Mean loss and mean squared error over the items of a step, how many there were, and the sum of all penalties.

    () tensors, no gradient. Of a part of a batch: the sums over the part, divided by the items of the batch.
    """

    loss: Tensor
    squared_error: Tensor
    penalty: Tensor
    n_items: int

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
        )


def training_step(fit: Fit, step: int) -> StepReport:
    """Do step number `step` (from 0)."""
    fit.renderer.update(fit.field, step, fit.context.generator)
    n = fit.renderer.affordable(fit.batch_size)
    with asked(fit, fit.sampler, "select"):
        indices = checked(fit.sampler.select(step, n, Residuals(fit)), fit.dataset.n_items).to(fit.context.device)
    fit.optimizer.zero_grad(set_to_none=True)
    report = StepReport.none(indices.device)
    # what may be mixed comes at once; else a batch of millions is fetched piece by piece
    for part in [indices] if fit.transform or fit.joint else indices.split(FETCH):
        # no name for it here: it is put in another order where a transform asks for one, and then not needed twice
        report += render_and_backpropagate(
            fit, fit.dataset.batch(part, fit.context.generator), step, n_items=len(indices)
        )
    for regularizer, points in zip(fit.regularizers, fit.grids, strict=True):
        with asked(fit, regularizer, "penalty"):
            penalty = scalar(regularizer.penalty(step, fit.field, points))
            penalty.backward()
        report = dataclasses.replace(report, penalty=report.penalty + penalty.detach())
    if fit.clip is not None:
        clip(fit.parameters, fit.clip)
    fit.optimizer.step()
    fit.ema.update()
    return report


def render_and_backpropagate(fit: Fit, batch: Batch, step: int, n_items: int) -> StepReport:
    """Tile by tile: values, cotangent, gradient of the parameters; of a batch, or a part of one of `n_items`."""
    blocks = None
    if fit.transform:
        with asked(fit, fit.transform, "prepare"):
            batch, blocks = _in_order(batch, fit.transform.prepare(step, fit.field, batch))
    adjusted, after = None, None
    if fit.transform and fit.transform.span == "batch":
        adjusted, after = _adjusted_over_batch(fit, batch, blocks)
    device = batch.targets.device
    loss, squared = torch.zeros((), device=device), torch.zeros((), device=device)
    fit.field.train()
    for rows in tiles(len(batch), len(batch) if fit.joint else fit.tile, blocks):
        tile = batch[rows]
        rendered = fit.renderer.render(
            fit.traced, tile.items, background=tile.background, generator=fit.context.generator
        )
        losses, g = cotangent(fit.loss, rendered.values, tile.targets, n_items)
        if adjusted is not None:
            g = adjusted[rows]
        elif fit.transform is not None:
            g = _adjusted(fit, g, tile, rendered)
        if rendered.values.requires_grad:  # rays that meet nothing depend on no parameter
            rendered.values.backward(g)
        loss += losses.sum()
        squared += (rendered.values.detach() - tile.targets).square().mean(dim=-1).sum()
    fit.field.eval()
    if after is not None:
        fit.context.generator.set_state(after)
    return StepReport(loss / n_items, squared / n_items, torch.zeros_like(loss), len(batch))


def _adjusted_over_batch(fit: Fit, batch: Batch, blocks: Sequence[int] | None) -> tuple[Tensor, Tensor]:
    """The whole batch's cotangent, adjusted at once: a pass without graph, whose samples the next one repeats.

    Also the state that the generator is to have after that one: what the transform drew is not drawn again.
    """
    assert fit.transform is not None
    g = torch.empty_like(batch.targets)
    values = torch.empty_like(batch.targets)
    state = fit.context.generator.get_state()
    fit.field.train()
    with torch.no_grad():
        for rows in tiles(len(batch), len(batch) if fit.joint else fit.tile, blocks):
            tile, generator = batch[rows], fit.context.generator
            rendered = fit.renderer.render(fit.field, tile.items, background=tile.background, generator=generator)
            values[rows] = rendered.values
            # tile by tile, as without a transform, so that the rounding is the same too
            g[rows] = cotangent(fit.loss, rendered.values, tile.targets, len(batch))[1]
    fit.field.eval()
    adjusted, after = _adjusted(fit, g, batch, Rendered(values)), fit.context.generator.get_state()
    fit.context.generator.set_state(state)
    return adjusted, after


def _adjusted(fit: Fit, g: Tensor, batch: Batch, rendered: Rendered) -> Tensor:
    assert fit.transform is not None
    with asked(fit, fit.transform, "adjust"):
        adjusted = fit.transform.adjust(g, batch, rendered)
        if not isinstance(adjusted, Tensor) or adjusted.shape != g.shape or adjusted.dtype != g.dtype:
            raise PluginError(f"the gradient transform made {_kind(adjusted)} of {_kind(g)}; shape and type must stay")
    return adjusted


@contextmanager
def asked(fit: Fit, hook: Any, what: str) -> Iterator[None]:
    """Inside the block a hook does `what`.

    Its tensors stay float32 where training takes bfloat16. What goes wrong names it: an error of its own is no bug of
    the engine.
    """
    try:
        with torch.autocast(fit.context.device.type, enabled=False):
            yield
    except PluginError as reason:
        raise PluginError(reason.reason, plugin=_owner(fit, hook)) from reason
    except FieldEngineError:
        raise
    except Exception as reason:  # a stranger's code may raise anything
        if is_out_of_memory(reason):
            raise
        said = f"failed in {what} with {type(reason).__name__}: {reason}. FIELDENGINE_TRACEBACK=1 shows where"
        raise TrainingError(f"{_owner(fit, hook)}: {said}") from reason


def _owner(fit: Fit, hook: Any) -> str:
    return next((name for known, name in fit.owners if known is hook), type(hook).__name__)


def _in_order(batch: Batch, order: Tensor | Sequence[Tensor] | None) -> tuple[Batch, list[int] | None]:
    """The batch in the order a transform asked for, once that is known to hold every item, and its blocks' lengths."""
    if order is None:
        return batch, None
    whole = order if isinstance(order, Tensor) else torch.cat([*order])
    if not is_permutation(whole, len(batch)):
        raise PluginError(f"the gradient transform's order is not a permutation of the {len(batch)} items of the batch")
    return batch[whole], None if order is whole else [len(block) for block in order]


def is_permutation(order: Tensor, n: int) -> bool:
    """Whether it holds each of 0..n-1 once. A sort would cost as much as a small network's step."""
    if order.dtype != torch.int64 or order.shape != (n,) or (n and (order.min() < 0 or order.max() >= n)):
        return False
    found = torch.zeros(n, dtype=torch.bool, device=order.device)
    found[order] = True
    return bool(found.all())


def tiles(n: int, size: int, blocks: Sequence[int] | None = None) -> Iterator[slice]:
    """Rows 0..n-1 in runs of at most `size`. Of blocks of these lengths as many as fit come together, at least one."""
    if blocks is None:
        for first in range(0, n, size):
            yield slice(first, first + size)
        return
    first = last = 0
    for length in blocks:
        if last > first and last + length - first > size:
            yield slice(first, last)
            first = last
        last += length
    if last > first:
        yield slice(first, last)


def scalar(penalty: Tensor) -> Tensor:
    """A penalty as a regulariser gave it, or a PluginError that says what is wrong with it."""
    if not isinstance(penalty, Tensor) or penalty.shape != () or not penalty.requires_grad:
        gradient = "" if getattr(penalty, "requires_grad", False) else " without gradient"
        raise PluginError(
            f"the penalty is {_kind(penalty)}{gradient}; expected a scalar tensor () that carries gradient"
        )
    return penalty


def _kind(found: Any) -> str:
    """What a hook returned, in words."""
    if not isinstance(found, Tensor):
        return type(found).__name__
    return f"{str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}"


def checked(indices: Tensor, n_items: int) -> Tensor:
    """Item numbers as a sampler gave them, or a PluginError that says what is wrong with them."""
    if not isinstance(indices, Tensor) or indices.dtype != torch.int64 or indices.ndim != 1 or not len(indices):
        raise PluginError(f"the batch sampler returned {_kind(indices)}; expected an int64 tensor (n,), n >= 1")
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= n_items:
        raise PluginError(f"the batch sampler returned items {low} to {high}; there are 0 to {n_items - 1}")
    return indices


class Residuals:
    """Answers a sampler's question how well items are fitted now (`fieldengine.protocols.ErrorOracle`).

    What differs from step to step, such as a background, is the same for all that is asked of the same items in one.
    """

    def __init__(self, fit: Fit):
        self._fit = fit
        self._seed: int | None = None
        self.n_items = fit.dataset.n_items

    @property
    def _tile(self) -> int:
        """As a step takes no more rays than these, all at once would not fit."""
        return self._fit.renderer.affordable(self._fit.tile)

    def targets(self, indices: Tensor) -> Tensor:
        return self._batch(indices).targets

    @torch.no_grad()
    def residuals(self, indices: Tensor) -> Tensor:
        batch = self._batch(indices)
        parts = (batch[rows] for rows in tiles(len(batch), self._tile))
        return torch.cat([self._values(part) - part.targets for part in parts])

    def tangent(self, indices: Tensor, cotangent: Tensor) -> Tensor:
        field, batch = self._fit.field, self._batch(indices)
        rows = torch.arange(len(batch), device=batch.indices.device)
        tile = max(1, self._tile // 4)  # a second derivative holds about as much as four first ones
        change = vjp(field, lambda part: self._values(batch[part]), rows, cotangent, tile=tile)
        return jvp(field, lambda part: self._values(batch[part]), rows, change, tile=tile, told=self._fit.context.tell)

    def _batch(self, indices: Tensor) -> Batch:
        if self._seed is None:  # by a copy: a question leaves no trace, so that asking less on resume changes nothing
            copy = torch.Generator().set_state(self._fit.context.generator.get_state())
            self._seed = int(torch.randint(2**62, (), generator=copy))
        items = indices.to(self._fit.context.device)
        return self._fit.dataset.batch(items, torch.Generator().manual_seed(self._seed))

    def _values(self, part: Batch) -> Tensor:
        fit = self._fit
        return fit.renderer.render(fit.field, part.items, background=part.background, generator=None).values
