"""Sine networks whose frequency grows with the pre-activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from fieldengine.api import Candidates
from fieldengine.ops import Dense, RealFunction, cos, sin
from fieldengine_plugins.activations.initial import drawn


@dataclass(frozen=True)
class Finer:
    """sin(omega (|u| + 1) u) with u = Wx + b, FINER.

    Liu et al. 2024, FINER; the Sine row of FINER++.

    Weights are drawn as in SIREN. The first layer's bias is drawn from U(-bias, bias); a wider range gives higher
    frequencies. Where paper and published code differ, the default follows the code, which produced the published
    numbers:
      - only the first layer's bias has the wide range (in the paper all layers); null is 1/sqrt(d), torch's default,
        which equals the paper's k for d = 2 and 3;
      - back-propagation treats the factor (|u| + 1) as a constant: omega (|u|+1) cos(.) (`gradient: detached`); the
        true derivative, omega (2|u|+1) cos(.), is `gradient: full`.

    Scene: `activation: {type: finer, omega: 30, bias: 0.7}`
    """

    omega: Annotated[float, Field(gt=0), Candidates(*range(10, 130, 10))] = 30.0
    """frequency of the layers"""
    first_omega: Annotated[float, Field(gt=0)] | None = None
    """frequency of the first layer; null is omega"""
    bias: Annotated[Annotated[float, Field(ge=0)] | None, Candidates(0.5, 0.7, 1, 1.5, 2, 3, 4, 5)] = None
    """range of the first bias U(-bias, bias), k in the paper; null is 1/sqrt(d)"""
    gradient: Literal["detached", "full"] = "detached"
    """detached: training treats the factor |u| + 1 as a constant; a trained field has true derivatives"""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        sine = VARIABLE_SINE if self.gradient == "full" else DETACHED_VARIABLE_SINE
        layer = Dense(in_dim, out_dim, sine, self.first_omega if is_first and self.first_omega else self.omega)
        if is_first and self.bias is not None:
            nn.init.uniform_(layer.bias, -self.bias, self.bias)
        return drawn(layer, "sine", self.omega, is_first=is_first)

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return drawn(nn.Linear(in_dim, out_dim), "sine", self.omega)


def value(u: Any, omega: float) -> Any:
    return sin(omega * (abs(u) + 1.0) * u)


def slope(u: Any, omega: float) -> Any:
    return omega * (2.0 * abs(u) + 1.0) * cos(omega * (abs(u) + 1.0) * u)


def slope_of_constant_growth(u: Any, omega: float) -> Any:
    growth = omega * (abs(u) + 1.0)
    return growth * cos(growth * u)


VARIABLE_SINE = RealFunction(value, slope)
DETACHED_VARIABLE_SINE = RealFunction(value, slope, surrogate=slope_of_constant_growth)
