"""One training step, read as its stages.

refresh, select, fetch, render, measure, loss, adjust, backward, regularise, update. The loss is a mean over items. Its
gradient in the measured values, the cotangent, is formed explicitly: a hook may replace it, and back-propagation starts
from it. Items are rendered in tiles and gradients add up, so memory does not depend on the batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fieldengine.kinds.hook import UNCHANGED
from fieldengine.kinds.renderer import check_max_batch
from fieldengine.training.fit import Fit, StepReport
from fieldengine.training.guards import checked, checked_cotangent, checked_indices, hook_call, ordered
from fieldengine.training.loss import cotangent
from fieldengine.training.measure import fetched, measured
from fieldengine.training.optimizer import clip
from fieldengine.training.oracle import Residuals
from fieldengine.training.penalties import VisitedPlaces, penalize
from fieldengine.training.tiles import Upstream, tiles
from fieldengine.training.uniform import UniformSampler
from fieldengine.types import Batch, Rendered

FETCH = 1 << 20  # items whose places and targets are held at once


def training_step(fit: Fit, step: int) -> StepReport:
    """Do step number `step` (from 0)."""
    generator = fit.context.device_generator
    fit.renderer.update(fit.field, step, generator)
    most = checked(fit, fit.renderer, check_max_batch, fit.renderer.max_batch(fit.batch_size), fit.batch_size)
    indices = select(fit, step, most)
    fit.optimizer.zero_grad(set_to_none=True)
    report, visited = StepReport.none(indices.device), VisitedPlaces(fit)
    # what may be mixed comes at once; else a batch of millions is fetched piece by piece
    for part in [indices] if fit.transform or fit.tile_of_items is None else indices.split(FETCH):
        # no name for it here: it is put in another order where a transform asks for one, and then not needed twice
        report += backpropagate(fit, fetched(fit, part, generator), step, len(indices), visited)
    if fit.regularizers:
        report = dataclasses.replace(report, penalty=penalize(fit, step, visited))
    if fit.clip is not None:
        clip(fit.parameters, fit.clip)
    fit.optimizer.step()
    fit.ema.update()
    return report


def select(fit: Fit, step: int, n: int) -> Tensor:
    """The numbers of the step's items, n of them or as many as a sampler chose."""
    if isinstance(fit.sampler, UniformSampler):  # to look at its numbers would wait for the device
        return fit.sampler.select(step, n, Residuals(fit))
    with hook_call(fit, fit.sampler, "select"):
        return checked_indices(fit.sampler.select(step, n, Residuals(fit)), fit.dataset.n_items).to(fit.context.device)


def backpropagate(fit: Fit, batch: Batch, step: int, n_items: int, visited: VisitedPlaces) -> StepReport:
    """Tile by tile: values, cotangent, gradients; of a batch, or a part of one of `n_items`."""
    blocks, changes = None, fit.transform is not None
    if fit.transform:
        with hook_call(fit, fit.transform, "prepare"):
            order = fit.transform.prepare(step, fit.field, batch)
            batch, blocks = ordered(batch, order)
            changes = order is not UNCHANGED
    whole, after = None, None
    if changes and fit.span == "batch":
        whole, after = _adjusted_over_batch(fit, batch, blocks)
    zero = torch.zeros((), device=batch.targets.device)
    report, upstream = StepReport.none(zero.device), Upstream(batch)
    fit.field.train()
    for rows in tiles(len(batch), fit.tile_of_items, blocks):
        tile = upstream.tile(batch, rows)
        rendered, places = measured(fit, fit.traced, tile, fit.context.device_generator)
        losses, g = cotangent(fit.loss, rendered.values, tile.targets, n_items)
        if whole is not None:
            g = whole[rows]
        elif changes:
            g = _adjusted(fit, g, tile, rendered, rows)
        _backward(rendered.values, g, rendered.losses, n_items)
        visited.add(places, len(tile) / n_items)
        squared = (rendered.values.detach() - tile.targets).square().mean(dim=-1).sum()
        sums = {name: loss.detach().sum() for name, loss in rendered.losses.items()}
        report += StepReport(losses.sum(), squared, zero, len(tile), sums)
    fit.field.eval()
    upstream.backward()
    if after is not None:
        fit.context.set_random_state(after)
    means = {name: total / n_items for name, total in report.losses.items()}
    return StepReport(report.loss / n_items, report.squared_error / n_items, zero, len(batch), means)


def _backward(values: Tensor, g: Tensor, losses: Mapping[str, Tensor], n_items: int) -> None:
    """Gradients of <values, g> and of the means of further losses (n,). What meets nothing depends on no parameter."""
    pairs = [(values, g), *((loss, torch.full_like(loss, 1.0 / n_items)) for loss in losses.values())]
    pairs = [(y, weight) for y, weight in pairs if y.requires_grad]
    if pairs:
        torch.autograd.backward([y for y, _ in pairs], [weight for _, weight in pairs])


def _adjusted_over_batch(fit: Fit, batch: Batch, blocks: Sequence[int] | None) -> tuple[Tensor, dict[str, Tensor]]:
    """The whole batch's cotangent, adjusted at once: a pass without graph, whose samples the next one repeats.

    Also the state that the generators are to have after that one: what the transform drew is not drawn again.
    """
    g = torch.empty_like(batch.targets)
    values = torch.empty_like(batch.targets)
    state = fit.context.random_state()
    fit.field.train()
    with torch.no_grad():
        for rows in tiles(len(batch), fit.tile_of_items, blocks):
            tile = batch[rows]
            rendered, _ = measured(fit, fit.field, tile, fit.context.device_generator)
            values[rows] = rendered.values
            # tile by tile, as without a transform, so that the rounding is the same too
            g[rows] = cotangent(fit.loss, rendered.values, tile.targets, len(batch))[1]
    fit.field.eval()
    adjusted = _adjusted(fit, g, batch, Rendered(values), slice(0, len(batch)))
    after = fit.context.random_state()
    fit.context.set_random_state(state)
    return adjusted, after


def _adjusted(fit: Fit, g: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
    assert fit.transform is not None
    with hook_call(fit, fit.transform, "adjust"):
        return checked_cotangent(fit.transform.adjust(g, batch, rendered, rows), g)
