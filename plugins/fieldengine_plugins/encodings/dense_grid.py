"""A grid with its own learned features at every vertex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from fieldengine.ops import grid_levels
from fieldengine_plugins.encodings.hash_grid import GridModule

MOST_NUMBERS = 2**27  # half a GiB, plus three times that while training


@dataclass(frozen=True)
class DenseGrid:
    """Learned features on the vertices of regular grids, without hashing.

    1 to 4 dimensions, one grid or several of increasing resolution. Vertices, interpolation and Adam settings as in
    `hash_grid`. With `field.depth: 0` and one level it is an interpolated image.

    Scene: `encoding: {type: dense_grid, resolution: 128, n_features: 4}`
    """

    resolution: Annotated[int, Field(ge=2, le=2**16)] = 128
    """cells per axis of the finest level"""
    n_levels: Annotated[int, Field(ge=1, le=16)] = 1
    """number of resolutions"""
    coarsest: Annotated[int, Field(ge=2)] = 16
    """cells per axis of the first of several levels"""
    n_features: Literal[1, 2, 4, 8] = 4
    """features per level"""
    interpolation: Literal["linear", "smoothstep"] = "linear"
    """smoothstep has a continuous first derivative, which normals and eikonal terms need"""
    lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """learning rate of the table as a multiple of `training.lr`"""

    def build(self, in_dim: int) -> nn.Module:
        if not 1 <= in_dim <= 4:
            raise ValueError(f"dense_grid takes 1 to 4 dimensions, not {in_dim}")
        coarsest = self.resolution if self.n_levels == 1 else self.coarsest
        if coarsest > self.resolution:
            raise ValueError(f"resolution ({self.resolution}) is below coarsest ({self.coarsest})")
        numbers = self.resolution**in_dim * self.n_features
        if numbers > MOST_NUMBERS:
            raise ValueError(
                f"a grid of {self.resolution} cells in {in_dim} dimensions holds {numbers:,} numbers; the most is "
                f"{MOST_NUMBERS:,}. Lower resolution, or take hash_grid"
            )
        every_vertex = 62
        levels = grid_levels(in_dim, self.n_levels, coarsest, self.resolution, every_vertex)
        return GridModule(levels, self.n_features, self.interpolation == "smoothstep", self.lr_scale)
