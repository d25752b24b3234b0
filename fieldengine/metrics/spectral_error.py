"""The relative error of an image by frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fieldengine.spectrum import ring_numbers

NOTHING = 1e-12  # share of an image's energy below which a ring holds no more than rounding


@dataclass(frozen=True)
class SpectralError:
    """Mean over rings of frequency of the relative error of an image's waves, after IGA's Eq. 6."""

    needs: ClassVar[str] = "image"
    higher_is_better: ClassVar[bool] = False

    def score(self, values: Tensor, target: Tensor) -> float:
        return mean_spectral_error(values, target)


def spectral_error(values: Tensor, target: Tensor) -> Tensor:
    """Relative error of the image's waves, ring by ring of their frequency; values are not clipped.

    After IGA's Eq. 6, |F[f] - F[f_theta]| / |F[f]| at one frequency. An image has many waves of about one frequency,
    and some of them hardly any energy, so all of a ring are taken together: sqrt(sum |dF|^2 / sum |F|^2), for each
    channel; the mean over channels is returned. Zero for an equal image, one for an empty one.

    Args:
        values, target: (h, w, c).

    Returns:
        (n // 2 + 1,) float64 with n the shorter side. Ring k holds waves that rise and fall k times along n pixels,
        ring 0 the mean; the shortest waves across the diagonal, k > n / 2, are in none. NaN where the target has no
        such wave, so that there is nothing to be relative to.
    """
    height, width, n_channels = target.shape
    ring = ring_numbers(height, width).flatten().to(target.device)
    n_rings = min(height, width) // 2 + 1

    def energy(image: Tensor) -> Tensor:
        """(h, w) -> of each ring; those beyond are counted in one more."""
        found = torch.fft.fft2(image).abs().square().flatten()
        return found.new_zeros(n_rings + 1).index_add_(0, ring, found)

    curves = []
    for i in range(n_channels):  # one by one: a large image's waves take much memory
        f, off = target[..., i].double(), (values[..., i] - target[..., i]).double()
        whole, wrong = energy(f), energy(off)
        some = (whole > NOTHING * whole.sum())[:-1]
        curves.append((wrong[:-1] / whole[:-1]).sqrt().where(some, torch.nan))
    return torch.stack(curves).nanmean(dim=0)


def mean_spectral_error(values: Tensor, target: Tensor) -> float:
    """Mean of `spectral_error` over the rings that the target has.

    Of a black target, which has none: 0 where the other image is black too, else 1.
    """
    curve = spectral_error(values, target)
    return float(bool((values != 0).any()) if curve.isnan().all() else curve.nanmean())
