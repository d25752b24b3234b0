"""Units held at mean zero and deviation one over the points of a step."""

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
    """Every hidden unit shifted and scaled to mean 0 and deviation 1 over the points of a step: batch normalisation.

    Cai et al. 2024, Batch Normalization Alleviates the Spectral Bias in Coordinate Networks; Ioffe and Szegedy 2015.
    The tables of IGA have it after the rectifier, or before it where an encoding comes first.

    While training a point's value depends on the other points of its step, so a step is never cut into tiles:
    memory grows with `training.batch_size`. Scores, images and exports take the means and deviations remembered from
    the steps before, which lag behind the weights by about 1 / momentum steps, so their PSNR differs a little from that
    of the batches. Sine networks do not gain from it: their initialisation relies on the units' own spread.

    Scene: `field: {parameterization: {type: batch_norm, place: before}}`
    """

    place: Literal["after", "before"] = "after"
    """after the nonlinearity, or before it"""
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """how much a step counts in what is remembered; 1 remembers the last alone, enough where it takes every item"""

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
    """(m, width) -> (m, width): gain (x - mean) / deviation + shift, of these rows in training, else as remembered."""

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
        self.register_buffer("share", torch.zeros(()))  # of all steps in what is remembered; it starts at nothing

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or len(x) < 2:
            return functional.batch_norm(x, self.mean, self.variance, self.gain, self.shift)
        if torch.is_grad_enabled():  # a pass without gradient asks, it does not train
            self._remember(x.detach())
        return functional.batch_norm(x, None, None, self.gain, self.shift, training=True)

    @torch.no_grad()
    def _remember(self, x: Tensor) -> None:
        self.share.lerp_(torch.ones_like(self.share), self.momentum)
        weight = self.momentum / self.share  # so that the first steps count fully
        variance, mean = torch.var_mean(x, dim=0)
        self.mean.lerp_(mean, weight)
        self.variance.lerp_(variance, weight)


class NormalisedDense(nn.Module):
    """A dense layer whose values are normalised before its function."""

    def __init__(self, dense: Dense, norm: Standardised):
        super().__init__()
        self.dense, self.norm = dense, norm

    def forward(self, x: Tensor) -> Tensor:
        u = self.norm(functional.linear(x, self.dense.weight, self.dense.bias))
        return pointwise(u, self.dense.function, *self.dense.constants)
