"""Complex Gabor wavelets of a sine whose frequency grows with the pre-activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from fieldengine.api import Candidates
from fieldengine.ops import ComplexDense, ComplexFunction, Dense, RealFunction, RealPart, cos, exp, sin
from fieldengine_plugins.activations.initial import drawn


@dataclass(frozen=True)
class FinerWavelet:
    """exp(j omega_w S - |scale S|^2), S = sin(omega (|u| + 1) u), complex u = Wz + b, FINER++ Wavelet.

    Zhu et al. 2024, FINER++, the Wavelet row. In the paper's notation omega is omega_f, omega_w is omega_0 / omega_f
    and scale is s_0 / omega_f. The paper prints omega_f = 2.5; the default, 5, follows the code, which produced the
    numbers.

    |u| + 1 acts on the real and the imaginary part separately. A layer of `width` w has w / 2 complex numbers, so the
    papers' 181 are `width: 362`. The first layer's weights are real; the output is the real part of the last layer.
    Weights are drawn as in SIREN with omega times omega_w, or as torch does (`init: torch`). Use a learning rate of
    1e-3 for images. bias and gradient as in `finer`.

    Scene: `activation: {type: finer_wavelet, omega: 5, omega_w: 4, scale: 2, bias: 1}`
    """

    omega: Annotated[float, Field(gt=0), Candidates(2.5, 5, 7.5, 10, 15, 20)] = 5.0
    """frequency of the inner sine"""
    omega_w: Annotated[float, Field(gt=0)] = 4.0
    """frequency of the wave"""
    scale: Annotated[float, Field(gt=0)] = 2.0
    """inverse width of the Gaussian"""
    bias: Annotated[float, Field(ge=0)] | None = 1.0
    """range of the first bias U(-bias, bias), k in the paper; null is 1/sqrt(d)"""
    init: Literal["sine", "torch"] = "sine"
    """how weights are drawn"""
    gradient: Literal["detached", "full"] = "detached"
    """detached: training treats the factor |u| + 1 as a constant; a trained field has true derivatives"""
    numbers: Literal["complex", "real"] = "complex"
    """real: real weights and a cosine instead of the complex wave, as in the tables of IGA (with `width: 181`)"""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        full, constants = self.gradient == "full", (self.omega, self.omega_w, self.scale)
        layer: Dense | ComplexDense
        if self.numbers == "real":
            layer = Dense(in_dim, out_dim, VARIABLE_WAVE if full else DETACHED_VARIABLE_WAVE, *constants)
        else:
            gabor = VARIABLE_GABOR if full else DETACHED_VARIABLE_GABOR
            layer = ComplexDense(in_dim, out_dim, gabor, *constants, real_input=is_first)
        if is_first and self.bias is not None:
            nn.init.uniform_(layer.bias, -self.bias, self.bias)
        return drawn(layer, self.init, self.omega * self.omega_w, is_first=is_first)

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        layer = nn.Linear(in_dim, out_dim) if self.numbers == "real" else RealPart(in_dim, out_dim)
        return drawn(layer, self.init, self.omega * self.omega_w)


def value(a: Any, b: Any, omega: float, omega_w: float, scale: float) -> Any:
    x, y = omega * (abs(a) + 1.0) * a, omega * (abs(b) + 1.0) * b
    y = 0.5 * (abs(y + 8.0) - abs(y - 8.0))  # beyond, |S| > 1000 and the Gaussian is zero; keeps e^y finite
    up, down, sine, cosine = exp(y), exp(-y), sin(x), cos(x)
    p, q = 0.5 * (up + down) * sine, 0.5 * (up - down) * cosine
    size = exp(-omega_w * q - scale * scale * (p * p + q * q))
    return size * cos(omega_w * p), size * sin(omega_w * p)


def pullback(a: Any, b: Any, g: Any, h: Any, omega: float, omega_w: float, scale: float) -> Any:
    to_x, to_y = to_phases(a, b, g, h, omega, omega_w, scale)
    return to_x * omega * (2.0 * abs(a) + 1.0), to_y * omega * (2.0 * abs(b) + 1.0)


def pullback_of_constant_growth(a: Any, b: Any, g: Any, h: Any, omega: float, omega_w: float, scale: float) -> Any:
    to_x, to_y = to_phases(a, b, g, h, omega, omega_w, scale)
    return to_x * omega * (abs(a) + 1.0), to_y * omega * (abs(b) + 1.0)


def to_phases(a: Any, b: Any, g: Any, h: Any, omega: float, omega_w: float, scale: float) -> Any:
    x, y = omega * (abs(a) + 1.0) * a, omega * (abs(b) + 1.0) * b
    y = 0.5 * (abs(y + 8.0) - abs(y - 8.0))
    up, down, sine, cosine = exp(y), exp(-y), sin(x), cos(x)
    wide, tall = 0.5 * (up + down), 0.5 * (up - down)
    p, q = wide * sine, tall * cosine
    size = exp(-omega_w * q - scale * scale * (p * p + q * q))
    real, imaginary = size * cos(omega_w * p), size * sin(omega_w * p)
    along, across = g * real + h * imaginary, h * real - g * imaginary
    narrow = 2.0 * scale * scale
    to_p, to_q = omega_w * across - narrow * p * along, -(omega_w + narrow * q) * along
    return to_p * wide * cosine - to_q * tall * sine, to_p * tall * sine + to_q * wide * cosine


def wave(u: Any, omega: float, omega_w: float, scale: float) -> Any:
    s = sin(omega * (abs(u) + 1.0) * u)
    return cos(omega_w * s) * exp(-scale * scale * s * s)


def slope_of_wave(u: Any, omega: float, omega_w: float, scale: float) -> Any:
    return omega * (2.0 * abs(u) + 1.0) * slope_in_phase(u, omega, omega_w, scale)


def slope_of_wave_of_constant_growth(u: Any, omega: float, omega_w: float, scale: float) -> Any:
    return omega * (abs(u) + 1.0) * slope_in_phase(u, omega, omega_w, scale)


def slope_in_phase(u: Any, omega: float, omega_w: float, scale: float) -> Any:
    phase = omega * (abs(u) + 1.0) * u
    s = sin(phase)
    bell = exp(-scale * scale * s * s)
    return -(omega_w * sin(omega_w * s) + 2.0 * scale * scale * s * cos(omega_w * s)) * bell * cos(phase)


VARIABLE_GABOR = ComplexFunction(value, pullback)
DETACHED_VARIABLE_GABOR = ComplexFunction(value, pullback, surrogate=pullback_of_constant_growth)
VARIABLE_WAVE = RealFunction(wave, slope_of_wave)
DETACHED_VARIABLE_WAVE = RealFunction(wave, slope_of_wave, surrogate=slope_of_wave_of_constant_growth)
