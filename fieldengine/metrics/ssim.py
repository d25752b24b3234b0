"""Structural similarity of images (Wang et al. 2004), with the windows of three codes (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from fieldengine.metrics.shown import shown, too_small


@dataclass(frozen=True)
class Ssim:
    """Structural similarity, Gaussian window of 11 pixels, images mirrored beyond their border."""

    needs: ClassVar[str] = "image"
    higher_is_better: ClassVar[bool] = True

    def score(self, values: Tensor, target: Tensor) -> float:
        return ssim(values, target)

    def obstacle(self, shape: Sequence[int], channels: int) -> str:
        return too_small(shape, 11)


@dataclass(frozen=True)
class SsimUniform:
    """Structural similarity, even window of 7 x 7 pixels inside the image: scikit-image's."""

    needs: ClassVar[str] = "image"
    higher_is_better: ClassVar[bool] = True

    def score(self, values: Tensor, target: Tensor) -> float:
        return ssim_uniform(values, target)

    def obstacle(self, shape: Sequence[int], channels: int) -> str:
        return too_small(shape, 7)


@dataclass(frozen=True)
class MsSsim:
    """Structural similarity at five scales, each half as large as the one before (Wang et al. 2003)."""

    needs: ClassVar[str] = "image"
    higher_is_better: ClassVar[bool] = True

    def score(self, values: Tensor, target: Tensor) -> float:
        return ms_ssim(values, target)

    def obstacle(self, shape: Sequence[int], channels: int) -> str:
        return too_small(shape, 176)  # torchmetrics wants 11 pixels after dividing by 16


def ssim(values: Tensor, target: Tensor) -> float:
    """Structural similarity, Gaussian window of 11 pixels and sigma 1.5, images mirrored beyond their border."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    found: Any = structural_similarity_index_measure(shown(values), shown(target), data_range=1.0)
    return float(found)


def ssim_uniform(values: Tensor, target: Tensor) -> float:
    """Structural similarity, even window of 7 x 7 pixels inside the image, sample (co)variances: scikit-image's."""
    a, b = shown(values).double(), shown(target).double()
    mean = partial(F.avg_pool2d, kernel_size=7, stride=1)
    sample = 49 / 48  # n / (n - 1) of the window's n pixels
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = sample * (mean(a * a) - mean_a**2), sample * (mean(b * b) - mean_b**2)
    covariance = sample * (mean(a * b) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((found / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def ms_ssim(values: Tensor, target: Tensor) -> float:
    """Structural similarity at five scales, each half as large as the one before (Wang et al. 2003)."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    return float(multiscale_structural_similarity_index_measure(shown(values), shown(target), data_range=1.0))
