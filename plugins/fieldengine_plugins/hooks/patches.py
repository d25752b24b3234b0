"""Inductive gradient adjustment where items are the pixels of a picture: groups are its patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fieldengine.api import Batch, Domain, Items, Points, Rendered, RunContext
from fieldengine_plugins.hooks.balancing import Groups, changed

if TYPE_CHECKING:
    from fieldengine_plugins.hooks.iga import Iga


class PictureGroups(Groups):
    """Patches of a picture, numbered row by row, and the places in them likewise."""

    def __init__(self, options: Iga, field: nn.Module, domain: Domain, n_items: int, context: RunContext):
        super().__init__(options, field, context)
        assert domain.sensor is not None
        self.sensor = domain.sensor
        height, width, side = self.sensor.height, self.sensor.width, self.side
        if side > max(height, width):
            raise ValueError(f"patch {side} is larger than the picture, {width}x{height}")
        down, across = -(-height // side), -(-width // side)
        self.n_groups = down * across
        if options.balanced >= self.n_groups:
            raise ValueError(
                f"balanced {options.balanced} needs more patches than the {self.n_groups} that {side}x{side} pixels "
                f"make of {width}x{height}; lower balanced or patch"
            )
        if options.representative == "group_sum" and (height % side or width % side):
            raise ValueError(f"group_sum needs whole patches; {side} does not divide {width}x{height}")
        pixels = torch.arange(n_items, device=domain.aabb.lower.device)
        row, column = torch.div(pixels, width, rounding_mode="floor"), pixels % width
        self.group = torch.div(row, side, rounding_mode="floor") * across + torch.div(
            column, side, rounding_mode="floor"
        )
        self.place = (row % side) * side + column % side
        middle = (extent(row, side, height) - 1) // 2 == row % side
        middle &= (extent(column, side, width) - 1) // 2 == column % side
        self.centres = pixels[middle]  # one a patch, in the order of patches
        self.wrong = torch.full((n_items,), -1.0, device=pixels.device)  # what each pixel's residual was, if ever seen
        self.next_refresh = 0
        self._seen: Tensor | None = None
        self._blocks: Sequence[Tensor] = []
        self._rows = torch.empty(0)
        self._done = 0

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> Sequence[Tensor] | None:
        if self.options.balanced == 0:
            return None
        if step >= self.next_refresh or self.vectors is None:
            self.vectors, self.change = self.balance(self._kernel_of(batch), self.vectors)
            self.next_refresh = step + self.options.refresh
        if self._seen is None or not torch.equal(self._seen, batch.indices):
            self._cut(batch.indices)
        self._done = 0
        return self._blocks

    def adjust(self, cotangent: Tensor, items: Items, rendered: Rendered) -> Tensor:
        if self.options.balanced == 0:
            return cotangent
        assert self.vectors is not None
        assert self.change is not None
        rows = self._rows[self._done : self._done + len(cotangent)]
        self._done += len(cotangent)
        pixels = self._seen_in_order[self._done - len(cotangent) : self._done]
        self.wrong[pixels] = cotangent.abs().sum(dim=-1)
        first = torch.div(rows[0], self.n_groups, rounding_mode="floor") * self.n_groups
        count = int(torch.div(rows[-1] - first, self.n_groups, rounding_mode="floor")) + 1
        g = cotangent.new_zeros(count * self.n_groups, cotangent.shape[1])
        g[rows - first] = cotangent  # a group that lacks this place takes part with zero
        return changed(g.view(count, self.n_groups, -1), self.vectors, self.change).flatten(0, 1)[rows - first]

    def _cut(self, indices: Tensor) -> None:
        """Blocks of rows: those at one place of all groups together, in the order of groups."""
        key = self.place[indices] * self.n_groups + self.group[indices]
        order = torch.argsort(key, stable=True)
        places = torch.div(key[order], self.n_groups, rounding_mode="floor")
        counts = torch.unique_consecutive(places, return_counts=True)[1]
        self._blocks = order.split(counts.tolist())
        # blocks are numbered without gaps, so that a tile of them is a run of rows of (block, group)
        block = torch.repeat_interleave(torch.arange(len(counts), device=key.device), counts)
        self._rows = block * self.n_groups + self.group[indices][order]
        self._seen, self._seen_in_order = indices.clone(), indices[order]

    def _kernel_of(self, batch: Batch) -> Tensor:
        if self.options.representative == "group_sum":
            order = torch.argsort(self.group * (int(self.place.max()) + 1) + self.place)
            return self.kernel(self.field.values, self._positions(order), per_group=len(order) // self.n_groups)
        return self.kernel(self.field.values, self._positions(self._representatives(batch)))

    def _positions(self, pixels: Tensor) -> Tensor:
        items = self.sensor.items(pixels)
        assert isinstance(items, Points)
        return items.positions

    def _representatives(self, batch: Batch) -> Tensor:
        """A pixel of each group, (n,)."""
        if self.options.representative == "centre":
            return self.centres
        if self.options.representative == "residual":
            self._look(batch)
        best = self.wrong.new_full((self.n_groups,), -1.0).scatter_reduce(0, self.group, self.wrong, "amax")
        is_best = (self.wrong == best[self.group]) & (best[self.group] >= 0)
        pixels = self.centres.clone()
        candidates = torch.nonzero(is_best).flatten().flip(0)  # of equals the first, which is written last
        pixels[self.group[candidates]] = candidates
        return pixels

    @torch.no_grad()
    def _look(self, batch: Batch) -> None:
        """Residuals of this step's pixels before it is done."""
        values = self.field.values
        for part in torch.arange(len(batch), device=batch.indices.device).split(4096):
            tile = batch[part]
            off = values(self._positions(tile.indices)) - tile.targets
            self.wrong[tile.indices] = off.abs().sum(dim=-1)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"wrong": self.wrong, "next_refresh": self.next_refresh}
        return state if self.vectors is None else {**state, "vectors": self.vectors, "change": self.change}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.wrong, self.next_refresh = state["wrong"].to(self.wrong), int(state["next_refresh"])
        if "vectors" in state:
            self.vectors, self.change = state["vectors"].to(self.wrong), state["change"].to(self.wrong)


def extent(index: Tensor, side: int, length: int) -> Tensor:
    """How many of `side` the patch has that this row or column lies in; fewer at the border."""
    first = torch.div(index, side, rounding_mode="floor") * side
    return (length - first).clamp(max=side)
