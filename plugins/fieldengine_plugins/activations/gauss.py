"""Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from fieldengine.api import Candidates
from fieldengine.ops import Dense, RealFunction, exp
from fieldengine_plugins.activations.initial import drawn


@dataclass(frozen=True)
class Gauss:
    """exp(-(scale u)^2) with u = Wx + b, Gauss.

    Ramasinghe and Lucey 2022, Beyond Periodicity; the Gauss row of FINER++, whose code uses scale 30 (WIRE's code 10).
    The survey's table prints exp(-|s| u^2), so its s is the square of this scale.

    Weights and biases are drawn as torch does. Use a learning rate of 5e-3 for images, 1e-4 for distances.

    Scene: `activation: {type: gauss, scale: 30}`
    """

    scale: Annotated[float, Field(gt=0), Candidates(5, 10, 15, 20, 25, 30, 40, 50, 60)] = 30.0
    """inverse width of the Gaussian"""
    init: Literal["torch", "sine"] = "torch"
    """how weights are drawn: as torch does, or as in SIREN with omega = scale"""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        layer = Dense(in_dim, out_dim, BELL, self.scale)
        return drawn(layer, self.init, self.scale, is_first=is_first)

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return drawn(nn.Linear(in_dim, out_dim), self.init, self.scale)


def value(u: Any, scale: float) -> Any:
    return exp(-scale * scale * u * u)


def slope(u: Any, scale: float) -> Any:
    return -2.0 * scale * scale * u * exp(-scale * scale * u * u)


BELL = RealFunction(value, slope)
