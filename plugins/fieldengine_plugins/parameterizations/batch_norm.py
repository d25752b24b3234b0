"""Hidden units normalised over the points of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fieldengine.ops import Dense, pointwise


@dataclass(frozen=True)
class BatchNorm:
    """Shifts and scales hidden units to mean 0 and deviation 1 over the points of a step: batch normalisation.

    Cai et al. 2024, Batch Normalization Alleviates the Spectral Bias in Coordinate Networks; Ioffe and Szegedy 2015.
    The tables of IGA use it after the ReLU, or before it behind an encoding.

    In training a point's value depends on the other points of its step, so a step is never cut into tiles, and memory
    grows with `training.batch_size`. Scores, images and exports use running means and deviations, which lag behind the
    weights by about 1 / momentum steps, so their PSNR differs slightly from that of the batches. Sine networks do not
    gain from it, because their initialisation relies on the units' own spread.

    Scene: `field: {parameterization: {type: batch_norm, place: before}}`
    """

    place: Literal["after", "before"] = "after"
    """after the nonlinearity, or before it"""
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """weight of a step in the running statistics; 1 keeps only the last step, enough if it takes every item"""

    def apply(self, layers: Sequence[nn.Module], width: int) -> Sequence[nn.Module]:
        return [*(self._normalised(layer, Standardised(width, self.momentum)) for layer in layers[:-1]), layers[-1]]

    def _normalised(self, layer: nn.Module, norm: Standardised) -> nn.Module:
        if self.place == "after":
            return nn.Sequential(layer, norm)
        if isinstance(layer, Dense):
            return NormalisedDense(layer, norm)
        if isinstance(layer, nn.Sequential) and len(layer) == 2 and isinstance(layer[0], nn.Linear):
            return nn.Sequential(layer[0], norm, layer[1])
        raise ValueError(
            f"batch_norm with place before needs layers of a linear map and a function; {type(layer).__name__} is "
            f"another kind. Take place: after"
        )


class Standardised(nn.Module):
    """(m, width) -> (m, width): gain (x - mean) / deviation + shift, of these rows in training, else running."""

    mixes_rows = True
    mean: Tensor
    variance: Tensor
    share: Tensor

    def __init__(self, width: int, momentum: float):
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("share", torch.zeros(()))  # total weight of all steps in the running statistics

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or len(x) < 2:
            return functional.batch_norm(x, self.mean, self.variance, self.gain, self.shift)
        if torch.is_grad_enabled():  # a pass without gradient is no training step
            self._remember(x.detach())
        return functional.batch_norm(x, None, None, self.gain, self.shift, training=True)

    @torch.no_grad()
    def _remember(self, x: Tensor) -> None:
        self.share.lerp_(torch.ones_like(self.share), self.momentum)
        weight = self.momentum / self.share  # gives the first steps full weight
        variance, mean = torch.var_mean(x, dim=0)
        self.mean.lerp_(mean, weight)
        self.variance.lerp_(variance, weight)


class NormalisedDense(nn.Module):
    """A dense layer that normalises the values before its nonlinearity."""

    def __init__(self, dense: Dense, norm: Standardised):
        super().__init__()
        self.dense, self.norm = dense, norm

    def forward(self, x: Tensor) -> Tensor:
        u = self.norm(functional.linear(x, self.dense.weight, self.dense.bias))
        return pointwise(u, self.dense.function, *self.dense.constants)
