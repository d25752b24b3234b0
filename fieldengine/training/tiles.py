"""Cutting a step into tiles, and gradients that go on into what a batch was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fieldengine.types import Batch


def tiles(n: int, size: int | None, blocks: Sequence[int] | None = None) -> Iterator[slice]:
    """Rows 0..n-1 in runs of at most `size`, None for all at once.

    Of blocks of these lengths as many as fit come together, at least one.
    """
    size = max(n, 1) if size is None else size
    if blocks is None:
        for first in range(0, n, size):
            yield slice(first, min(first + size, n))
        return
    first = last = 0
    for length in blocks:
        if last > first and last + length - first > size:
            yield slice(first, last)
            first = last
        last += length
    if last > first:
        yield slice(first, last)


class Upstream:
    """What a batch depends on, such as poses of a data set: gradients are collected tile by tile and sent on at once.

    Without it each tile would go back through all of the batch's own graph. Nothing is done where a batch depends on no
    parameter.
    """

    def __init__(self, batch: Batch):
        found = {**vars(batch.items), "background": batch.background}
        self._sources: dict[str, Tensor] = {
            name: t for name, t in found.items() if isinstance(t, Tensor) and t.requires_grad
        }
        self._leaves: list[dict[str, Tensor]] = []

    def tile(self, batch: Batch, rows: slice) -> Batch:
        """Rows of the batch; tensors that carry gradient begin anew there."""
        if not self._sources:
            return batch[rows]
        leaves = {name: source[rows].detach().requires_grad_() for name, source in self._sources.items()}
        self._leaves.append(leaves)
        tile = batch[rows]
        of_items = {name: leaf for name, leaf in leaves.items() if name != "background"}
        return replace(
            tile, items=replace(tile.items, **of_items), background=leaves.get("background", tile.background)
        )

    def backward(self) -> None:
        """Send what was collected on. The tiles covered the batch in order."""
        for name, source in self._sources.items():
            parts = [leaves[name] for leaves in self._leaves]
            if any(part.grad is not None for part in parts):
                grads = [torch.zeros_like(part) if part.grad is None else part.grad for part in parts]
                torch.autograd.backward([source], [torch.cat(grads)], retain_graph=len(self._sources) > 1)
