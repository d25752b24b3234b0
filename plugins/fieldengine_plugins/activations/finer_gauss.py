"""Gaussians of a sine whose frequency grows with the pre-activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from fieldengine.api import Candidates
from fieldengine.ops import Dense, RealFunction, cos, exp, sin
from fieldengine_plugins.activations.initial import drawn


@dataclass(frozen=True)
class FinerGauss:
    """exp(-(scale S)^2), S = sin(omega (|u| + 1) u), u = Wx + b, FINER++ Gauss.

    Zhu et al. 2024, FINER++, the Gauss row. In the paper's notation omega is omega_f and scale is s_0 / omega_f. The
    paper prints omega_f = 2.5; the default, 10, follows the code's script, which produced the numbers.

    Weights are drawn as in SIREN, the first bias from U(-bias, bias), k in the paper. Use a learning rate of 1e-3 for
    images. bias and gradient as in `finer`.

    Scene: `activation: {type: finer_gauss, scale: 3, omega: 10, bias: 1}`
    """

    scale: Annotated[float, Field(gt=0)] = 3.0
    """inverse width of the Gaussian"""
    omega: Annotated[float, Field(gt=0), Candidates(2.5, 5, 7.5, 10, 15, 20, 30)] = 10.0
    """frequency of the inner sine"""
    bias: Annotated[float, Field(ge=0)] | None = 1.0
    """range of the first bias U(-bias, bias), k in the paper; null is 1/sqrt(d)"""
    init: Literal["sine", "torch"] = "sine"
    """how weights are drawn"""
    gradient: Literal["detached", "full"] = "detached"
    """detached: training treats the factor |u| + 1 as a constant; a trained field has true derivatives"""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        function = VARIABLE_BELL if self.gradient == "full" else DETACHED_VARIABLE_BELL
        layer = Dense(in_dim, out_dim, function, self.omega, self.scale)
        if is_first and self.bias is not None:
            nn.init.uniform_(layer.bias, -self.bias, self.bias)
        return drawn(layer, self.init, self.omega, is_first=is_first)

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return drawn(nn.Linear(in_dim, out_dim), self.init, self.omega)


def value(u: Any, omega: float, scale: float) -> Any:
    s = scale * sin(omega * (abs(u) + 1.0) * u)
    return exp(-s * s)


def slope_in_phase(u: Any, omega: float, scale: float) -> Any:
    phase = omega * (abs(u) + 1.0) * u
    s = scale * sin(phase)
    return -2.0 * scale * s * cos(phase) * exp(-s * s)


def slope(u: Any, omega: float, scale: float) -> Any:
    return omega * (2.0 * abs(u) + 1.0) * slope_in_phase(u, omega, scale)


def slope_of_constant_growth(u: Any, omega: float, scale: float) -> Any:
    return omega * (abs(u) + 1.0) * slope_in_phase(u, omega, scale)


VARIABLE_BELL = RealFunction(value, slope)
DETACHED_VARIABLE_BELL = RealFunction(value, slope, surrogate=slope_of_constant_growth)
