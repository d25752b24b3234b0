"""An encoding whose levels fade in, coarse to fine, during training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import EncodingOptions


@dataclass(frozen=True)
class Progressive:
    """Fades an encoding's levels in, coarse to fine, over the first part of the training.

    Level l is weighted by (1 - cos(pi min(1, max(0, a - l)))) / 2, where a grows from `start` to the number of levels
    over the first fraction `until` of the steps (Park et al. 2021, Nerfies, eq. 8; Lin et al. 2021, BARF). Coarse
    structure settles before fine detail can hide it. For encodings with levels: hash_grid, dense_grid and the octaves
    of frequency.

    Scene: `encoding: {type: progressive, encoding: {type: hash_grid}, until: 0.5}`
    """

    encoding: EncodingOptions
    """the encoding whose levels fade in"""
    until: Annotated[float, Field(gt=0, le=1)] = 0.5
    """fraction of the steps after which every level has full weight"""
    start: Annotated[float, Field(ge=0)] = 1.0
    """levels that have full weight from the first step on"""

    def build(self, in_dim: int) -> nn.Module:
        return ProgressiveModule(self, self.encoding.build(in_dim))


class ProgressiveModule(nn.Module):
    weights: Tensor

    def __init__(self, options: Progressive, encoding: Any):
        super().__init__()
        self.columns: list[int] = getattr(encoding, "level_columns", [])
        if not self.columns:
            raise ValueError(
                f"{type(encoding).__name__} has no levels to fade in; hash_grid, dense_grid and frequency do"
            )
        self.encoding, self.out_dim = encoding, encoding.out_dim
        self.start, self.until = options.start, options.until
        self.register_buffer("weights", torch.ones(self.out_dim))
        self.advance(0.0)

    def advance(self, done: float) -> None:
        """Set the fraction of the training's steps that are done, 0 to 1."""
        n_levels = len(self.columns)
        reached = self.start + max(0.0, n_levels - self.start) * min(1.0, done / self.until)
        always = self.out_dim - sum(self.columns)
        shares = [0.5 - 0.5 * math.cos(math.pi * min(1.0, max(0.0, reached - i))) for i in range(n_levels)]
        levels = torch.tensor(shares).repeat_interleave(torch.tensor(self.columns))
        self.weights.copy_(torch.cat([torch.ones(always), levels]))

    def forward(self, x: Tensor) -> Tensor:
        """(m, d) in [-1, 1] -> (m, out_dim), as the encoding, with its levels weighted."""
        return self.encoding(x) * self.weights
