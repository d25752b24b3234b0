"""Sine networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from fieldengine.api import Candidates
from fieldengine.ops import Dense, RealFunction, cos, sin
from fieldengine_plugins.activations.initial import drawn, sine_bound


@dataclass(frozen=True)
class Siren:
    """sin(omega (Wx + b)), SIREN.

    Sitzmann et al. 2020, Implicit Neural Representations with Periodic Activation Functions.

    The first weights are U(-1/d, 1/d), later ones U(+-sqrt(6/n)/omega) for n inputs (section 3.2). Biases have torch's
    default U(+-1/sqrt(n)), as in the authors' code, or the bound of the layer's weights, as in COIN and INT.

    Scene: `activation: {type: siren, omega: 30}`
    """

    omega: Annotated[float, Field(gt=0), Candidates(*range(10, 130, 10))] = 30.0
    """frequency of the layers"""
    first_omega: Annotated[float, Field(gt=0)] | None = None
    """frequency of the first layer; null is omega; about 3000 for sound"""
    bias: Literal["torch", "weight"] = "torch"
    """how biases are drawn"""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        layer = Dense(in_dim, out_dim, SINE, self.first_omega if is_first and self.first_omega else self.omega)
        return self._drawn(layer, is_first=is_first)

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return self._drawn(nn.Linear(in_dim, out_dim))

    def _drawn(self, linear: nn.Linear, *, is_first: bool = False) -> nn.Linear:
        drawn(linear, "sine", self.omega, is_first=is_first)
        if self.bias == "weight":
            bound = sine_bound(linear.in_features, self.omega, is_first=is_first)
            nn.init.uniform_(linear.bias, -bound, bound)
        return linear


def value(u: Any, omega: float) -> Any:
    return sin(omega * u)


def slope(u: Any, omega: float) -> Any:
    return omega * cos(omega * u)


SINE = RealFunction(value, slope)
