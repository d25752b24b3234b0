"""Complex Gabor wavelets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from fieldengine.ops import ComplexDense, ComplexFunction, RealPart, complex_width, cos, exp, sin

LARGEST_EXPONENT = 80.0  # e^88 is the largest float32


@dataclass(frozen=True)
class Wire:
    """exp(j omega u - |scale u|^2) with complex u = Wz + b, WIRE.

    Saragadam et al. 2023, WIRE: Wavelet Implicit Neural Representations, eq. 4; the WIRE row of FINER++.

    A layer of `width` w has w / sqrt(2) complex numbers, as many parameters as a real layer. The first layer's weights
    are real, the answer is the real part of the last layer's. Weights as torch draws them in both parts, or as SIREN's
    with omega (`init: sine`). Wants a learning rate of 5e-3 on images. For denoising the authors take omega and scale
    from 4 to 5, for occupancy 10 and 40.

    Scene: `activation: {type: wire, omega: 20, scale: 10}`
    """

    omega: Annotated[float, Field(gt=0)] = 20.0
    """frequency of the wave"""
    scale: Annotated[float, Field(gt=0)] = 10.0
    """one over the width of the bell"""
    init: Literal["torch", "sine"] = "torch"
    """how weights are drawn"""

    def __post_init__(self) -> None:
        largest = self.omega**2 / (4 * self.scale**2)
        if largest > LARGEST_EXPONENT:
            least = self.omega / math.sqrt(4 * LARGEST_EXPONENT)
            raise ValueError(
                f"omega {self.omega:g} with scale {self.scale:g} reaches exp({largest:.0f}), more than a float32 "
                f"holds; take a scale of at least {least:.2g}, or a smaller omega"
            )

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        n = in_dim if is_first else complex_width(in_dim)
        layer = ComplexDense(n, complex_width(out_dim), GABOR, self.omega, self.scale, real_input=is_first)
        return self._drawn(layer, 1.0 / in_dim if is_first else math.sqrt(6.0 / n) / self.omega)

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        n = complex_width(in_dim)
        return self._drawn(RealPart(n, out_dim), math.sqrt(6.0 / n) / self.omega)

    def _drawn(self, layer: Any, bound: float) -> nn.Module:
        if self.init == "sine":
            nn.init.uniform_(layer.weight, -bound, bound)
        return layer


def value(a: Any, b: Any, omega: float, scale: float) -> Any:
    size = exp(-omega * b - scale * scale * (a * a + b * b))
    return size * cos(omega * a), size * sin(omega * a)


def pullback(a: Any, b: Any, g: Any, h: Any, omega: float, scale: float) -> Any:
    size = exp(-omega * b - scale * scale * (a * a + b * b))
    real, imaginary = size * cos(omega * a), size * sin(omega * a)
    along, across = g * real + h * imaginary, h * real - g * imaginary
    narrow = 2.0 * scale * scale
    return omega * across - narrow * a * along, -(omega + narrow * b) * along


GABOR = ComplexFunction(value, pullback)
