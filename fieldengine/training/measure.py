"""From items to measurements: what a field shows of them, as the operator measures it."""

from __future__ import annotations

from typing import Any

from torch import Generator, Tensor

from fieldengine.training.fit import Fit
from fieldengine.types import Batch, Items, Points, Rays, Rendered


def measured(fit: Fit, field: Any, batch: Batch, generator: Generator | None) -> tuple[Rendered, Tensor]:
    """Measurements of a batch's items, and where the field was visited at for them, (m, d) without gradient.

    Samples and weights along rays are those of the items, and so known only where the operator is the identity.
    """
    places = fit.operator.places(batch.items)
    background = batch.background
    if background is not None and len(places) != len(batch):
        background = background.repeat_interleave(len(places) // len(batch), dim=0)
    rendered = fit.renderer.render(field, places, background=background, generator=generator)
    visited = visited_by(rendered, places)
    values = fit.operator.measure(rendered.values, batch.items)
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
