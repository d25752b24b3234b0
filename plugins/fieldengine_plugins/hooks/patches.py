"""Inductive gradient adjustment for the pixels of an image: groups are its patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fieldengine.api import Batch, Domain, Points, Rendered
from fieldengine_plugins.hooks.balancing import Adjustment, Balancing

Representative = Literal["previous", "residual", "centre", "group_sum"]


class ImageGroups:
    """Patches of an image, numbered row by row, as are the places in them."""

    span: Literal["tile"] = "tile"

    def __init__(self, balancing: Balancing, domain: Domain, side: int, representative: Representative, refresh: int):
        assert domain.grid is not None
        self.balancing, self.grid, self.side = balancing, domain.grid, side
        self.representative, self.refresh = representative, refresh
        (height, width), balanced = self.grid.shape, balancing.balanced
        self.height, self.width = height, width
        if side > max(height, width):
            raise ValueError(f"patch {side} is larger than the image, {width}x{height}")
        down, across = -(-height // side), -(-width // side)
        self.n_groups = down * across
        if balanced >= self.n_groups:
            raise ValueError(
                f"balanced {balanced} needs more than {balanced} patches; an image of "
                f"{width}x{height} pixels has {self.n_groups} of {side}x{side}. Lower patch, or balanced"
            )
        balancing.tell_if_many(self.n_groups)
        if representative == "group_sum" and (height % side or width % side):
            raise ValueError(f"group_sum needs whole patches; {side} does not divide {width}x{height}")
        self.down, self.across, self.device = down, across, domain.aabb.lower.device
        rows, columns = (middles(length, side, self.device) for length in (height, width))
        self.centres = (rows[:, None] * width + columns).flatten()
        self.worst = self.centres  # each patch's pixel with the largest residual; the middle one if not seen yet
        self.next_refresh = 0
        self.adjustment: Adjustment | None = None
        self._seen: Tensor | None = None
        self._order, self._off = torch.empty(0, dtype=torch.int64), torch.empty(0)
        self._blocks: Sequence[Tensor] = []
        self._rows: Tensor | None = None  # None if each place has every patch, once and in order

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> Sequence[Tensor] | None:
        if self._seen is None or not torch.equal(self._seen, batch.indices):
            self._cut(batch.indices)
        if step >= self.next_refresh:
            start = None if self.adjustment is None else self.adjustment.vectors
            self.adjustment = self.balancing.adjustment(self._kernel_of(batch), start)
            self.next_refresh = step + self.refresh
        return self._blocks

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
        assert self.adjustment is not None
        if self.representative == "previous":
            wrong = rendered.values.detach().float() - batch.targets
            torch.sum(wrong.abs_(), dim=-1, out=self._off[rows])
            if rows.stop == len(self._off):
                self.worst = self._most_wrong()
        if self._rows is None:
            g = cotangent.view(-1, self.n_groups, cotangent.shape[1])
            return self.adjustment.times(g).flatten(0, 1)
        places = self._rows[rows]
        places = places - torch.div(places[0], self.n_groups, rounding_mode="floor") * self.n_groups
        g = self._placed(cotangent, places, 0.0)  # zero for a group that lacks this place
        return self.adjustment.times(g).flatten(0, 1)[places]

    def _cut(self, indices: Tensor) -> None:
        """Cut rows into blocks, one for each place in a patch, in the order of groups."""
        key = self._place_and_group(indices)
        self._order = torch.argsort(key, stable=True)
        key = key[self._order]
        places = torch.div(key, self.n_groups, rounding_mode="floor")
        counts = torch.unique_consecutive(places, return_counts=True)[1]
        self._blocks = self._order.split(counts.tolist())
        # blocks are numbered without gaps, so a tile of them is a run of rows of (block, group)
        rows = torch.repeat_interleave(torch.arange(len(counts), device=key.device), counts).mul_(self.n_groups)
        rows += key.remainder_(self.n_groups)
        whole = len(rows) % self.n_groups == 0 and torch.equal(rows, torch.arange(len(rows), device=rows.device))
        self._rows = None if whole else rows
        self._seen, self._off = indices.clone(), torch.empty(len(indices), device=key.device)

    def _place_and_group(self, pixels: Tensor) -> Tensor:
        """One number per pixel (m,): its place in the patch times the number of patches, plus its patch."""
        row, column = torch.div(pixels, self.width, rounding_mode="floor"), pixels % self.width
        key = (row % self.side).mul_(self.side).add_(column % self.side).mul_(self.down)
        key += row.div_(self.side, rounding_mode="floor")
        return key.mul_(self.across).add_(column.div_(self.side, rounding_mode="floor"))

    def _placed(self, values: Tensor, rows: Tensor, absent: float) -> Tensor:
        """Values (m, ...) at these rows of (block, group) -> (blocks, groups, ...)."""
        blocks = int(torch.div(rows[-1], self.n_groups, rounding_mode="floor")) + 1
        placed = values.new_full((blocks * self.n_groups, *values.shape[1:]), absent)
        placed[rows] = values
        return placed.view(blocks, self.n_groups, *values.shape[1:])

    def _kernel_of(self, batch: Batch) -> Tensor:
        pixels, per_group = self.representatives(batch), 1
        if self.representative == "group_sum":
            row, column = (torch.arange(n, device=self.device) for n in (self.height, self.width))
            every = (row[:, None] * self.width + column).view(self.down, self.side, self.across, self.side)
            pixels, per_group = every.transpose(1, 2).flatten(), self.side**2
        return self.balancing.kernel(self.balancing.field.values, self._positions(pixels), per_group)

    def representatives(self, batch: Batch) -> Tensor:
        """One pixel per patch, (n,), for a step with this batch, which is the one that was cut last."""
        if self.representative == "centre":
            return self.centres
        if self.representative == "residual":
            self._look(batch)
        return self.worst

    def _positions(self, pixels: Tensor) -> Tensor:
        items = self.grid.items(pixels)
        assert isinstance(items, Points)
        return items.positions

    def _most_wrong(self) -> Tensor:
        """The pixel with the largest residual of each group, (n,); the previous one if none was seen."""
        assert self._seen is not None
        if self._rows is None:
            row = self._off.view(-1, self.n_groups).argmax(dim=0) * self.n_groups
            return self._seen[self._order[row + torch.arange(self.n_groups, device=self.device)]]
        off, place = self._placed(self._off, self._rows, -1.0).max(dim=0)
        number = torch.arange(len(self._off), device=self.device)
        row = self._placed(number, self._rows, 0).gather(0, place[None]).squeeze(0)
        return torch.where(off >= 0, self._seen[self._order[row]], self.worst)

    @torch.no_grad()
    def _look(self, batch: Batch) -> None:
        """Evaluate the residuals of this step's pixels in advance."""
        values = self.balancing.field.values
        for rows, off in zip(self._order.split(4096), self._off.split(4096), strict=True):
            tile = batch[rows]
            torch.sum((values(self._positions(tile.indices)) - tile.targets).abs(), dim=-1, out=off)
        self.worst = self._most_wrong()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"worst": self.worst, "next_refresh": self.next_refresh}
        return state if self.adjustment is None else {**state, **self.adjustment._asdict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.worst, self.next_refresh = state["worst"].to(self.device), int(state["next_refresh"])
        if "vectors" in state:
            self.adjustment = Adjustment(state["vectors"].to(self.device), state["change"].to(self.device))


def middles(length: int, side: int, device: torch.device) -> Tensor:
    """The middle row, or column, of each patch of `side`; the last patch may have fewer."""
    first = torch.arange(0, length, side, device=device)
    return first + torch.div((length - first).clamp(max=side) - 1, 2, rounding_mode="floor")
