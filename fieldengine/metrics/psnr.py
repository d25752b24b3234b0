"""Peak signal-to-noise ratio, of values in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class Psnr:
    """Peak signal-to-noise ratio in dB of what a screen shows, values clipped to [0, 1]; at most 120."""

    needs: ClassVar[str] = "signal"
    higher_is_better: ClassVar[bool] = True
    pixelwise: ClassVar[bool] = True

    def score(self, values: Tensor, target: Tensor) -> float:
        return psnr(values, target)


@dataclass(frozen=True)
class PsnrUnclipped:
    """Peak signal-to-noise ratio in dB of the values as they are, so that what leaves [0, 1] counts; at most 120."""

    needs: ClassVar[str] = "signal"
    higher_is_better: ClassVar[bool] = True
    pixelwise: ClassVar[bool] = True

    def score(self, values: Tensor, target: Tensor) -> float:
        return psnr_unclipped(values, target)


def decibels(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of values in [0, 1] from their mean squared error; at most 120."""
    return -10.0 * math.log10(max(squared_error, 1e-12))


def psnr(values: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of what a screen shows: values are clipped to [0, 1]."""
    return psnr_unclipped(values.clamp(0, 1), target.clamp(0, 1))


def psnr_unclipped(values: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of the values as they are, so that what leaves [0, 1] counts."""
    return decibels(float((values.double() - target.double()).square().mean()))
