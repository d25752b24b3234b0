"""Multiresolution hash grid: a table of learned features at many resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import AdamSettings
from fieldengine.ops import GridLevel, grid_levels, hash_encode, table_gradients

MOST_NUMBERS = 2**30  # 4 GiB, plus three times that while training


@dataclass(frozen=True)
class HashGrid:
    """Learned features at many resolutions (multiresolution hash encoding).

    Müller et al. 2022, Instant Neural Graphics Primitives; 1 to 4 dimensions.

    Positions, table sizes and hashing as in tiny-cuda-nn: half a cell of offset, coarse levels stored densely, finer
    ones hashed. One difference: within half a cell of the upper faces tiny-cuda-nn wraps around to the other side of
    the box; here the nearest vertex is used. The table has its own Adam settings: betas (0.9, 0.99), eps 1e-15, and
    entries that a step does not touch stay unchanged.

    Scene: `encoding: {type: hash_grid, n_levels: 16, finest: 1024, log2_table: 19}`
    """

    n_levels: Annotated[int, Field(ge=1, le=32)] = 16
    """number of resolutions"""
    n_features: Literal[1, 2, 4, 8] = 2
    """features per level"""
    log2_table: Annotated[int, Field(ge=4, le=24)] = 17
    """log2 of the largest number of entries per level"""
    coarsest: Annotated[int, Field(ge=2)] = 16
    """cells per axis of the first level"""
    finest: Annotated[int, Field(ge=2, le=2**20)] = 512
    """cells per axis of the last level"""
    interpolation: Literal["linear", "smoothstep"] = "linear"
    """smoothstep has a continuous first derivative, which normals and eikonal terms need"""
    lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """learning rate of the table as a multiple of `training.lr`"""

    def __post_init__(self) -> None:
        if self.finest < self.coarsest:
            raise ValueError(f"finest ({self.finest}) is below coarsest ({self.coarsest})")

    def build(self, in_dim: int) -> nn.Module:
        if not 1 <= in_dim <= 4:
            raise ValueError(f"hash_grid takes 1 to 4 dimensions, not {in_dim}")
        levels = grid_levels(in_dim, self.n_levels, self.coarsest, self.finest, self.log2_table)
        return GridModule(levels, self.n_features, self.interpolation == "smoothstep", self.lr_scale)


class GridModule(nn.Module):
    """Features of the levels of a grid.

    Attributes:
        level_columns: number of outputs of each level, coarse to fine.
    """

    def __init__(self, levels: Sequence[GridLevel], n_features: int, smooth: bool, lr_scale: float):
        super().__init__()
        self.levels, self.smooth = levels, smooth
        rows = levels[-1].offset + levels[-1].size
        if rows * n_features > MOST_NUMBERS:
            raise ValueError(
                f"the table would hold {rows * n_features:,} numbers; the most is {MOST_NUMBERS:,}. "
                f"Take fewer levels, features or vertices"
            )
        self.table = nn.Parameter(torch.empty(rows, n_features).uniform_(-1e-4, 1e-4))
        self.level_columns = [n_features] * len(levels)
        self.out_dim = sum(self.level_columns)
        self.adam = AdamSettings(lr_scale=lr_scale, betas=(0.9, 0.99), eps=1e-15, sparse=True)

    def forward(self, x: Tensor) -> Tensor:
        """(m, d) in [-1, 1] -> (m, levels x features). Carries gradient to x and to the table."""
        return hash_encode(0.5 * x + 0.5, self.table, self.levels, smooth=self.smooth, sparse=True)

    def gradients_by_row(self, x: Tensor, g: Tensor) -> list[Tensor]:
        """See `fieldengine.api.GradientsByRow`."""
        return [table_gradients(0.5 * x + 0.5, self.table, g, self.levels, smooth=self.smooth)]
