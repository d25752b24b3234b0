"""From item numbers to measurements: what the data set gives, what a field shows of it, as the operator measures it.

What each part returns is checked on the way, so that an error names the plugin at fault.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from fieldengine.kinds.dataset import check_batch
from fieldengine.kinds.operator import check_measured, check_places
from fieldengine.kinds.renderer import check_rendered
from fieldengine.training.fit import Fit
from fieldengine.training.guards import check_names, checked
from fieldengine.types import Batch, Items, Points, Rays, Rendered


def fetched(fit: Fit, indices: Tensor, generator: Generator) -> Batch:
    """The items of these numbers (n,), in the precision of the field's parameters even where training takes less."""
    dtype = next(fit.field.parameters()).dtype.to_real()
    with torch.autocast(fit.context.device.type, enabled=False):
        batch = fit.dataset.batch(indices, generator)
    return checked(fit, fit.dataset, check_batch, batch, len(indices), fit.dataset.domain, dtype)


def measured(fit: Fit, field: Any, batch: Batch, generator: Generator | None) -> tuple[Rendered, Tensor]:
    """Measurements of a batch's items, and the places (m, d) that the field was evaluated at, without gradient.

    Samples and weights along rays are those of the items, and so known only where the operator is the identity.
    """
    operator, renderer = fit.operator, fit.renderer
    places = checked(fit, operator, check_places, operator.places(batch.items), len(batch), operator.n_places)
    background = batch.background
    if background is not None and len(places) != len(batch):
        background = background.repeat_interleave(len(places) // len(batch), dim=0)
    rendered = renderer.render(field, places, background=background, generator=generator)
    checked(fit, renderer, check_rendered, rendered, len(places))
    checked(fit, renderer, check_names, rendered.losses)
    visited = visited_by(rendered, places)
    values = checked(fit, operator, check_measured, operator.measure(rendered.values, batch.items), len(batch))
    if values is rendered.values:
        return rendered, visited
    losses = {name: _per_item(loss, len(batch)) for name, loss in rendered.losses.items()}
    return Rendered(values, losses=losses), visited


def visited_by(rendered: Rendered, places: Items) -> Tensor:
    """The points, or the middles of the samples along rays, (m, d)."""
    if isinstance(places, Points):
        return places.positions.detach()
    if rendered.samples is None:
        return places.origins[:0].detach()
    rays = Rays(places.origins.detach(), places.viewdirs.detach())
    return rendered.samples.midpoints(rays)


def _per_item(loss: Tensor, n: int) -> Tensor:
    """A loss (places,) as one of each measurement (n,)."""
    return loss.view(n, -1).mean(dim=1) if len(loss) % n == 0 else loss.mean().expand(n)
