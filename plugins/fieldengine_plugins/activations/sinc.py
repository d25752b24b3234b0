"""The sinc function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from fieldengine.api import Candidates
from fieldengine.ops import Dense, RealFunction, cos, sin, where
from fieldengine_plugins.activations.initial import drawn


@dataclass(frozen=True)
class Sinc:
    """sin(omega u) / (omega u) with u = Wx + b, sinc.

    Saratchandran et al. 2024, A Sampling Theory Perspective on Activations for Implicit Neural Representations.

    Without pi: torch.sinc(x) is this at omega u = pi x. Weights and biases are drawn as torch does, or as in SIREN.

    Scene: `activation: {type: sinc, omega: 30}`
    """

    omega: Annotated[float, Field(gt=0), Candidates(*range(10, 130, 10))] = 30.0
    """the highest frequency that a layer produces"""
    init: Literal["torch", "sine"] = "torch"
    """how weights are drawn"""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        layer = Dense(in_dim, out_dim, SINC, self.omega)
        return drawn(layer, self.init, self.omega, is_first=is_first)

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return drawn(nn.Linear(in_dim, out_dim), self.init, self.omega)


def value(u: Any, omega: float) -> Any:
    return cardinal_sine(omega * u)


def slope(u: Any, omega: float) -> Any:
    return omega * slope_of_cardinal_sine(omega * u)


def cardinal_sine(x: Any) -> Any:
    near = abs(x) < 0.1  # the series is exact here, the quotient is not
    away = where(near, 1.0 + x * 0.0, x)
    return where(near, 1.0 - x * x / 6.0 * (1.0 - x * x / 20.0), sin(away) / away)


def slope_of_cardinal_sine(x: Any) -> Any:
    near = abs(x) < 0.1
    away = where(near, 1.0 + x * 0.0, x)
    series = -x / 3.0 * (1.0 - x * x / 10.0 * (1.0 - x * x / 28.0))
    return where(near, series, (cos(away) - sin(away) / away) / away)


SINC = RealFunction(value, slope)
