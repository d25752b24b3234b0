"""Answers to a sampler's question how well items are fitted now."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ntk import jvp, vjp
from fieldengine.training.fit import Fit
from fieldengine.training.measure import fetched, measured
from fieldengine.training.tiles import tiles
from fieldengine.types import Batch


class Residuals:
    """`fieldengine.kinds.hook.ErrorOracle` of a fit.

    What differs from step to step, such as a background, is the same for all that is asked of the same items in one.
    """

    def __init__(self, fit: Fit):
        self._fit = fit
        self._seed: int | None = None
        self.n_items = fit.dataset.n_items

    @property
    def _tile(self) -> int:
        """As a step takes no more rays than these, all at once would not fit."""
        return self._fit.renderer.max_batch(self._fit.tile_of_items or self._fit.tile)

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
        warn = self._fit.context.warn_once
        return jvp(field, lambda part: self._values(batch[part]), rows, change, tile=tile, warn=warn)

    def _batch(self, indices: Tensor) -> Batch:
        if self._seed is None:  # by a copy: a question leaves no trace, so that asking less on resume changes nothing
            copy = torch.Generator().set_state(self._fit.context.generator.get_state())
            self._seed = int(torch.randint(2**62, (), generator=copy))
        items = indices.to(self._fit.context.device)
        return fetched(self._fit, items, torch.Generator(items.device).manual_seed(self._seed))

    def _values(self, part: Batch) -> Tensor:
        return measured(self._fit, self._fit.field, part, None)[0].values
