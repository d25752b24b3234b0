"""Scores of a picture against its target, by name. docs/metrics.md says where each comes from.

A score is a function of `values` and `target`, both (h, w, c), where 0 is black and 1 white; `PICTURE_SCORES` names it.
Values may leave [0, 1]: each score says whether it clips them as a screen does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldengine.scene import Evaluation
from fieldengine.training import lpips

USUAL = Evaluation.metrics
NOTHING = 1e-12  # share of a picture's energy below which a ring holds no more than rounding


def decibels(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of values in [0, 1] from their mean squared error; at most 120."""
    return -10.0 * math.log10(max(squared_error, 1e-12))


def psnr(values: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of what a screen shows: values are clipped to [0, 1]."""
    return psnr_unclipped(values.clamp(0, 1), target.clamp(0, 1))


def psnr_unclipped(values: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of the values as they are, so that what leaves [0, 1] counts."""
    return decibels(float((values.double() - target.double()).square().mean()))


def ssim(values: Tensor, target: Tensor) -> float:
    """Structural similarity, Gaussian window of 11 pixels and sigma 1.5, pictures mirrored beyond their border."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    found: Any = structural_similarity_index_measure(_shown(values), _shown(target), data_range=1.0)
    return float(found)


def ssim_uniform(values: Tensor, target: Tensor) -> float:
    """Structural similarity, even window of 7 x 7 pixels inside the picture, sample (co)variances: scikit-image's."""
    a, b = _shown(values).double(), _shown(target).double()
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

    return float(multiscale_structural_similarity_index_measure(_shown(values), _shown(target), data_range=1.0))


def score_lpips(values: Tensor, target: Tensor, network: str) -> float:
    """Distance between a network's features (Zhang et al. 2018), 0 for equal pictures; grey counts as three colours."""
    a, b = (2 * _shown(picture).expand(-1, 3, -1, -1) - 1 for picture in (values, target))
    return lpips.distance(a, b, network)


def spectral_error(values: Tensor, target: Tensor) -> Tensor:
    """Relative error of the picture's waves, ring by ring of their frequency; values are not clipped.

    After IGA's Eq. 6, |F[f] - F[f_theta]| / |F[f]| at one frequency. A picture has many waves of about one frequency,
    and some of them hardly any energy, so all of a ring are taken together: sqrt(sum |dF|^2 / sum |F|^2), for each
    channel; the mean over channels is returned. Zero for an equal picture, one for an empty one.

    Args:
        values, target: (h, w, c).

    Returns:
        (n // 2 + 1,) float64 with n the shorter side. Ring k holds waves that rise and fall k times along n pixels,
        ring 0 the mean; the shortest waves across the diagonal, k > n / 2, are in none. NaN where the target has no
        such wave, so that there is nothing to be relative to.
    """
    height, width, n_channels = target.shape
    n = min(height, width)
    y, x = (n * torch.fft.fftfreq(size, dtype=torch.float64, device=target.device) for size in (height, width))
    ring = torch.hypot(y[:, None], x).round().long().flatten()
    n_rings = n // 2 + 1

    def energy(picture: Tensor) -> Tensor:
        """(h, w) -> of each ring; those beyond are counted in one more."""
        found = torch.fft.fft2(picture).abs().square().flatten()
        return found.new_zeros(n_rings + 1).index_add_(0, ring.clamp(max=n_rings), found)

    curves = []
    for i in range(n_channels):  # one by one: a large picture's waves take much memory
        f, off = target[..., i].double(), (values[..., i] - target[..., i]).double()
        whole, wrong = energy(f), energy(off)
        some = (whole > NOTHING * whole.sum())[:-1]
        curves.append((wrong[:-1] / whole[:-1]).sqrt().where(some, torch.nan))
    return torch.stack(curves).nanmean(dim=0)


def mean_spectral_error(values: Tensor, target: Tensor) -> float:
    """Mean of `spectral_error` over the rings that the target has.

    Of a black target, which has none: 0 where the other picture is black too, else 1.
    """
    curve = spectral_error(values, target)
    return float(bool((values != 0).any()) if curve.isnan().all() else curve.nanmean())


@dataclass(frozen=True)
class PictureScore:
    """One score.

    Attributes:
        compute: values (h, w, c), target (h, w, c) -> the score.
        smallest: pixels that a picture's shorter side needs.
        network: whose features are compared, of `lpips.WEIGHTS`; None where no network takes part.
        pixelwise: whether some of a picture's pixels (n, c) may be scored as well.
        less_is_better: as of distances and errors.
    """

    compute: Callable[[Tensor, Tensor], float]
    smallest: int = 1
    network: str | None = None
    pixelwise: bool = False
    less_is_better: bool = False


# a name here is one in `fieldengine.scene.PictureMetric`
PICTURE_SCORES = {
    "psnr": PictureScore(psnr, pixelwise=True),
    "psnr_unclipped": PictureScore(psnr_unclipped, pixelwise=True),
    "ssim": PictureScore(ssim, smallest=11),
    "ssim_uniform": PictureScore(ssim_uniform, smallest=7),
    "ms_ssim": PictureScore(ms_ssim, smallest=176),  # torchmetrics wants 11 pixels after dividing by 16
    "lpips_alex": PictureScore(partial(score_lpips, network="alex"), smallest=31, network="alex", less_is_better=True),
    "lpips_vgg": PictureScore(partial(score_lpips, network="vgg"), smallest=16, network="vgg", less_is_better=True),
    "spectral_error": PictureScore(mean_spectral_error, less_is_better=True),
}


@torch.no_grad()
def score_picture(values: Tensor, target: Tensor, names: Iterable[str] = USUAL) -> dict[str, float]:
    """The scores of these names of one picture (h, w, c); those that it is too small for are left out."""
    side = min(target.shape[:2])
    chosen = {name: PICTURE_SCORES[name] for name in names}
    return {name: score.compute(values, target) for name, score in chosen.items() if side >= score.smallest}


@torch.no_grad()
def score_parts(values: Tensor, target: Tensor, hidden: Tensor, names: Iterable[str] = USUAL) -> dict[str, float]:
    """The scores of these names that are pixel by pixel, of the hidden (h, w) and of the observed pixels alone.

    `hidden_psnr` and `observed_psnr`, with the names of others likewise.
    """
    parts = {"hidden": hidden, "observed": ~hidden}
    return {
        f"{part}_{name}": PICTURE_SCORES[name].compute(values[pixels], target[pixels])
        for name in names
        if PICTURE_SCORES[name].pixelwise
        for part, pixels in parts.items()
    }


def obstacle(name: str, height: int, width: int, channels: int) -> str:
    """Why a score of pictures of this size cannot be computed and what to do about it; empty where it can be."""
    score = PICTURE_SCORES[name]
    if min(height, width) < score.smallest:
        return f"needs pictures of {score.smallest} pixels a side or more, found {width}x{height}. Leave it out"
    if score.network is None:
        return ""
    if channels not in (1, 3):
        return f"needs grey or coloured pictures, found {channels} channels. Set dataset.background, or leave it out"
    return lpips.obstacle(score.network)


def _shown(picture: Tensor) -> Tensor:
    """(h, w, c) -> (1, c, h, w), clipped to [0, 1] as a screen does."""
    return picture.clamp(0, 1).permute(2, 0, 1)[None]
