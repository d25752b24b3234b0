"""The batch sampler of a run whose hooks choose no items."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from fieldengine.kinds.hook import ErrorOracle


class UniformSampler:
    """Items drawn evenly with replacement; all of them, in order, when as many are asked for as there are."""

    def __init__(self, generator: Generator, device: torch.device):
        self.generator, self.device = generator, device

    def select(self, step: int, n: int, scores: ErrorOracle) -> Tensor:
        if n >= scores.n_items:
            return torch.arange(scores.n_items, device=self.device)
        place = self.generator.device
        return torch.randint(scores.n_items, (n,), generator=self.generator, device=place).to(self.device)
