"""Complex Gabor wavelets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import Candidates
from fieldengine.ops import ComplexDense, ComplexFunction, RealPart, cos, exp, sin
from fieldengine_plugins.activations.initial import drawn

LARGEST_EXPONENT = 80.0  # e^88 is the largest float32


@dataclass(frozen=True)
class Wire:
    """exp(j omega u - |scale u|^2) with complex u = Wz + b, WIRE.

    Saragadam et al. 2023, WIRE: Wavelet Implicit Neural Representations, eq. 4; the WIRE row of FINER++.

    A layer of `width` w has w / 2 complex numbers. Papers compare at equal parameters: their 181 numbers, compared with
    real layers of 256, are `width: 362`. The first layer's weights are real; the output is the real part of the last
    layer. Weights are drawn as torch does in both parts, or as in SIREN with omega (`init: sine`). Use a learning rate
    of 5e-3 for images. For denoising the authors use omega and scale from 4 to 5, for occupancy 10 and 40.

    Scene: `activation: {type: wire, omega: 20, scale: 10}`
    """

    omega: Annotated[float, Field(gt=0), Candidates(5, 10, 15, 20, 25, 30, 40)] = 20.0
    """frequency of the wave"""
    scale: Annotated[float, Field(gt=0)] = 10.0
    """inverse width of the Gaussian"""
    init: Literal["torch", "sine"] = "torch"
    """how weights are drawn"""
    window: Literal["own", "second"] = "own"
    """second is WIRE-2D: the Gaussian also decays with the magnitude of a second linear map"""

    def __post_init__(self) -> None:
        largest = self.omega**2 / (4 * self.scale**2)
        if largest > LARGEST_EXPONENT:
            least = self.omega / math.sqrt(4 * LARGEST_EXPONENT)
            raise ValueError(
                f"omega {self.omega:g} with scale {self.scale:g} reaches exp({largest:.0f}), more than a float32 "
                f"holds; take a scale of at least {least:.2g}, or a smaller omega"
            )

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        layer = ComplexDense(in_dim, out_dim, GABOR, self.omega, self.scale, real_input=is_first)
        wave = drawn(layer, self.init, self.omega, is_first=is_first)
        if self.window == "own":
            return wave
        bell = ComplexDense(in_dim, out_dim, BELL, self.scale, real_input=is_first)
        return Windowed(wave, drawn(bell, self.init, self.omega, is_first=is_first))

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return drawn(RealPart(in_dim, out_dim), self.init, self.omega)


class Windowed(nn.Module):
    """The product of a wave and a Gaussian, which multiplies both parts of each complex number."""

    def __init__(self, wave: nn.Module, bell: nn.Module):
        super().__init__()
        self.wave, self.bell = wave, bell

    def forward(self, x: Tensor) -> Tensor:
        return self.wave(x) * self.bell(x)


def value(a: Any, b: Any, omega: float, scale: float) -> Any:
    size = exp(-omega * b - scale * scale * (a * a + b * b))
    return size * cos(omega * a), size * sin(omega * a)


def pullback(a: Any, b: Any, g: Any, h: Any, omega: float, scale: float) -> Any:
    size = exp(-omega * b - scale * scale * (a * a + b * b))
    real, imaginary = size * cos(omega * a), size * sin(omega * a)
    along, across = g * real + h * imaginary, h * real - g * imaginary
    narrow = 2.0 * scale * scale
    return omega * across - narrow * a * along, -(omega + narrow * b) * along


def bell(a: Any, b: Any, scale: float) -> Any:
    size = exp(-scale * scale * (a * a + b * b))
    return size, size


def pullback_of_bell(a: Any, b: Any, g: Any, h: Any, scale: float) -> Any:
    along = -2.0 * scale * scale * exp(-scale * scale * (a * a + b * b)) * (g + h)
    return a * along, b * along


GABOR = ComplexFunction(value, pullback)
BELL = ComplexFunction(bell, pullback_of_bell)
