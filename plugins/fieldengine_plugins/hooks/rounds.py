"""All items in turn, with consecutive ones spread evenly over all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fieldengine.api import Domain, RunContext

MOST = 1 << 20  # items in a stored order; pixels of an image have no limit, as every n-th would form columns
# frac(i g) for integers i is the most even of all sequences if g is the golden ratio; R2 is its counterpart in a plane
# (Roberts 2018, The Unreasonable Effectiveness of Quasirandom Sequences)
ALONG, ACROSS, DOWN = 0.6180339887498949, 0.7548776662466927, 0.5698402909980532


class Rounds:
    """Items in rounds: each once per round, from a random start.

    Neighbours have similar gradients, so each of evenly spread items represents those around it, and the next few
    batches, which momentum averages, together represent all, with less noise than independent draws. The pixels of an
    image are spread over its plane, other items along their numbers. Very many items are split over several rounds.
    """

    def __init__(self, domain: Domain, n_items: int, context: RunContext):
        self.image, self.n_items, self.context = domain.image_shape(n_items), n_items, context
        self.stride = 1 if self.image is not None else -(-n_items // MOST)
        self.phase = self.stride - 1  # a round has the items phase, phase + stride, ...
        self.mirrored, self.start, self.place = False, 0, 0
        self._orders: dict[tuple[bool, int], Tensor] = {}
        self._begin()

    def take(self, n: int, without: Tensor) -> Tensor:
        """The next n items (n,) that are not in `without`, which are distinct; n is at most the number left."""
        found = without
        while len(found) < n + len(without):
            order = self._evenly()
            if self.place == len(order):
                self._begin()
                continue
            # few are left out, so this examines few more than it takes
            last = min(self.place + n + len(without) - len(found), len(order))
            places = (torch.arange(self.place, last, device=order.device) + self.start) % len(order)
            next_ones = order[places] * self.stride + self.phase
            self.place = last
            found = torch.cat([found, next_ones[~torch.isin(next_ones, found)]])
        return found[len(without) :]

    def _begin(self) -> None:
        generator = self.context.generator
        self.phase, self.place = (self.phase + 1) % self.stride, 0
        self.mirrored = bool(torch.randint(2, (), generator=generator))
        self.start = int(torch.randint(self._length(), (), generator=generator))

    def _length(self) -> int:
        return -(-(self.n_items - self.phase) // self.stride)

    def _evenly(self) -> Tensor:
        """Places in a round (m,), consecutive ones spread evenly; the first follows the last."""
        key = self.mirrored, self._length()
        if key not in self._orders:
            numbers = torch.arange(self._length(), dtype=torch.float64)
            if self.image is not None:
                width = self.image[1]
                sign = -1.0 if self.mirrored else 1.0
                numbers = sign * ACROSS * (numbers % width) + DOWN * torch.div(numbers, width, rounding_mode="floor")
            else:
                numbers = ALONG * numbers
            self._orders[key] = (numbers - numbers.floor()).argsort(stable=True).to(self.context.device)
        return self._orders[key]

    def state_dict(self) -> dict[str, Any]:
        return {"phase": self.phase, "mirrored": self.mirrored, "start": self.start, "place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.phase, self.mirrored = int(state["phase"]), bool(state["mirrored"])
        self.start, self.place = int(state["start"]), int(state["place"])
