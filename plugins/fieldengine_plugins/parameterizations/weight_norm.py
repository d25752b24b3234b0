"""Weights as lengths and directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from fieldengine_plugins.parameterizations.weighted import weighted


@dataclass(frozen=True)
class WeightNorm:
    """W = g v / |v| row by row, with lengths g and directions v trained separately: weight normalisation.

    Salimans and Kingma 2016, Weight Normalization, eq. 2. Starts from the weights that the activation drew. An exported
    field holds only W.

    Scene: `field: {parameterization: weight_norm}`
    """

    def apply(self, layers: Sequence[nn.Module], width: int) -> Sequence[nn.Module]:
        for layer in layers:
            for module in weighted(layer):
                parametrize.register_parametrization(module, "weight", LengthAndDirection())
        return layers


class LengthAndDirection(nn.Module):
    """Lengths (..., out, 1) and directions (..., out, in) -> W (..., out, in)."""

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        return length * direction / direction.norm(dim=-1, keepdim=True).clamp(min=1e-12)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return weight.norm(dim=-1, keepdim=True), weight
