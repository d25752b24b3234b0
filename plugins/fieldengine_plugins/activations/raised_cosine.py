"""The raised cosine of communication theory: a sinc with a faster decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from fieldengine.ops import Dense, RealFunction, where
from fieldengine_plugins.activations.initial import drawn
from fieldengine_plugins.activations.sinc import cardinal_sine, slope_of_cardinal_sine


@dataclass(frozen=True)
class RaisedCosine:
    """sinc(x) cos(a) / (1 - (2a / pi)^2) with x = omega u, a = roll_off x, u = Wx + b, raised cosine.

    The survey's sinc(omega_1 u) cos(omega_2 u) / (1 - |s| u^2), with its three parameters tied as in the true raised
    cosine, omega_2 = pi sqrt(|s|) / 2; untied, it has a pole. roll_off 0 is sinc. Weights and biases are drawn as torch
    does, or as in SIREN.

    Scene: `activation: {type: raised_cosine, omega: 30, roll_off: 0.5}`
    """

    omega: Annotated[float, Field(gt=0)] = 30.0
    """frequency of the sinc"""
    roll_off: Annotated[float, Field(ge=0, le=1)] = 0.5
    """how fast it decays, 0 to 1"""
    init: Literal["torch", "sine"] = "torch"
    """how weights are drawn"""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        layer = Dense(in_dim, out_dim, RAISED_COSINE, self.omega, self.roll_off)
        return drawn(layer, self.init, self.omega, is_first=is_first)

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return drawn(nn.Linear(in_dim, out_dim), self.init, self.omega)


# cos(a) / (1 - (2a/pi)^2) is sinc(d) pi^2 / (4 (d + pi)) with d = |a| - pi/2, without division by zero


def value(u: Any, omega: float, roll_off: float) -> Any:
    d = abs(roll_off * omega * u) - 1.5707963267948966
    return cardinal_sine(omega * u) * cardinal_sine(d) * 2.4674011002723395 / (d + 3.141592653589793)


def slope(u: Any, omega: float, roll_off: float) -> Any:
    x, side = omega * u, where(u > 0.0, 1.0 + u * 0.0, -1.0 + u * 0.0)
    d = abs(roll_off * x) - 1.5707963267948966
    over = 2.4674011002723395 / (d + 3.141592653589793)
    bend = side * roll_off * (slope_of_cardinal_sine(d) - cardinal_sine(d) / (d + 3.141592653589793)) * over
    return omega * (slope_of_cardinal_sine(x) * cardinal_sine(d) * over + cardinal_sine(x) * bend)


RAISED_COSINE = RealFunction(value, slope)
