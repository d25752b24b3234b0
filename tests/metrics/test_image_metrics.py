"""Scores of images against closed forms and slow, obvious twins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fieldengine.metrics.psnr import decibels, psnr, psnr_unclipped
from fieldengine.metrics.spectral_error import mean_spectral_error, spectral_error
from fieldengine.metrics.ssim import MsSsim, ms_ssim, ssim, ssim_uniform
from fieldengine.plugins.registry import Registry

REGISTRY = Registry()
SMALLEST = {"psnr": 1, "psnr_unclipped": 1, "ssim": 11, "ssim_uniform": 7, "ms_ssim": 176, "spectral_error": 1}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def metric(name: str) -> Any:
    return REGISTRY.find("metrics", name).load()()


@pytest.mark.parametrize("name", SMALLEST)
def test_a_score_is_best_for_the_image_itself_worse_with_noise_and_wants_the_size_it_says(name: str):
    side, found = SMALLEST[name], metric(name)
    target = image(side, side + 3, 2)
    best, good, bad = (found.score(target + scale * noise(side, side + 3, 2), target) for scale in (0, 0.05, 0.4))
    assert best == {"psnr": 120.0, "psnr_unclipped": 120.0, "spectral_error": 0.0}.get(name, pytest.approx(1.0))
    assert bad < good < best if found.higher_is_better else bad > good > best
    if side > 1:
        assert found.obstacle((side, side), 2) == ""
        assert found.obstacle((side - 1, side), 2) == (
            f"needs images of {side} pixels a side or more, found {side}x{side - 1}. Leave it out"
        )


# ---------------------------------------------------------------------------------------------------------------- PSNR


def test_decibels_are_minus_ten_log_of_the_squared_error_and_stay_finite():
    assert decibels(1.0) == 0.0
    assert decibels(0.01) == pytest.approx(20.0)
    assert decibels(0.25) == pytest.approx(20 * math.log10(2))
    assert decibels(0.0) == pytest.approx(120.0)


def test_a_image_off_by_a_tenth_has_twenty_decibels():
    target = 0.8 * image(20, 16, 3)
    assert psnr(target + 0.1, target) == pytest.approx(20.0, abs=1e-3)
    assert psnr_unclipped(target + 0.1, target) == pytest.approx(20.0, abs=1e-3)


def test_values_beyond_black_and_white_count_as_black_and_white_unless_unclipped():
    target = torch.tensor([0.0, 1.0]).view(1, 2, 1)
    wild = torch.tensor([-3.0, 5.0]).view(1, 2, 1)
    assert psnr(wild, target) > 100
    assert psnr_unclipped(wild, target) == pytest.approx(-10 * math.log10((9 + 16) / 2))


# ---------------------------------------------------------------------------------------------------------------- SSIM


def test_ssim_falls_with_noise_and_is_left_out_where_the_window_does_not_fit():
    target = torch.linspace(0, 1, 24).expand(24, 24)[..., None].contiguous()
    little, much = (ssim(target + scale * noise(24, 24, 1), target) for scale in (0.02, 0.3))
    assert 1.0 > little > much
    assert metric("ssim").obstacle(target[:10].shape[:2], 3) != ""
    assert metric("ssim").obstacle(target[:11].shape[:2], 3) == ""


def ssim_of_scikit_image(a: np.ndarray, b: np.ndarray) -> float:
    """structural_similarity(a, b, data_range=1, channel_axis=2), window by window."""
    c1, c2 = 0.01**2, 0.03**2
    found = []
    for k in range(a.shape[2]):
        for i in range(3, a.shape[0] - 3):
            for j in range(3, a.shape[1] - 3):
                p, q = (x[i - 3 : i + 4, j - 3 : j + 4, k].ravel() for x in (a, b))
                (var_p, cov), (_, var_q) = np.cov(p, q, ddof=1)
                likeness = (2 * p.mean() * q.mean() + c1) * (2 * cov + c2)
                found.append(likeness / ((p.mean() ** 2 + q.mean() ** 2 + c1) * (var_p + var_q + c2)))
    return float(np.mean(found))


def test_ssim_uniform_is_that_of_scikit_image():
    target = image(9, 12, 2)
    values = target + 0.3 * noise(9, 12, 2)
    expected = ssim_of_scikit_image(values.clamp(0, 1).double().numpy(), target.double().numpy())
    assert ssim_uniform(values, target) == pytest.approx(expected, abs=1e-9)


def test_ssim_uniform_of_flat_greys_is_its_first_factor():
    values, target = torch.full((8, 8, 1), 0.25), torch.full((8, 8, 1), 0.5)
    expected = (2 * 0.25 * 0.5 + 1e-4) / (0.25**2 + 0.5**2 + 1e-4)
    assert ssim_uniform(values, target) == pytest.approx(expected, rel=1e-6)


def test_ms_ssim_forgives_fine_noise_that_ssim_does_not():
    target = torch.linspace(0, 1, 176).expand(176, 176)[..., None].contiguous()
    values = target + 0.1 * noise(176, 176, 1)
    assert 1.0 > ms_ssim(values, target) > ssim(values, target) + 0.2


def test_ms_ssim_of_128_pixels_is_refused_in_words():
    assert MsSsim().obstacle((128, 128), 3) == (
        "needs images of 176 pixels a side or more, found 128x128. Leave it out"
    )


# ------------------------------------------------------------------------------------------------------------ spectrum


def wave(height: int, width: int, down: int, across: int) -> Tensor:
    """A cosine with so many periods along each side, one channel."""
    y, x = torch.arange(height)[:, None] / height, torch.arange(width) / width
    return (2 * math.pi * (down * y + across * x)).cos()[..., None]


def curve_of(values: np.ndarray, target: np.ndarray) -> list[float]:
    """`spectral_error` of one channel, a wave at a time."""
    height, width = target.shape
    n = min(height, width)
    whole, wrong = np.zeros(n // 2 + 1), np.zeros(n // 2 + 1)
    f, g = np.fft.fft2(target), np.fft.fft2(values)
    for i in range(height):
        for j in range(width):
            down, across = ((k if k <= size / 2 else k - size) / size for k, size in ((i, height), (j, width)))
            ring = round(n * math.hypot(down, across))
            if ring <= n // 2:
                whole[ring] += abs(f[i, j]) ** 2
                wrong[ring] += abs(f[i, j] - g[i, j]) ** 2
    return list(np.sqrt(wrong / whole))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 14), (12, 7), (1, 5)])
def test_the_spectral_error_is_the_mean_over_channels_of_the_error_counted_wave_by_wave(height: int, width: int):
    target = image(height, width, 2)
    values = target + 0.1 * noise(height, width, 2)
    a, b = values.double().numpy(), target.double().numpy()
    expected = np.mean([curve_of(a[..., k], b[..., k]) for k in range(2)], axis=0)
    np.testing.assert_allclose(spectral_error(values, target).numpy(), expected, rtol=1e-5)
    assert mean_spectral_error(values, target) == pytest.approx(expected.mean(), rel=1e-5)


def test_the_spectral_error_is_zero_for_the_image_one_for_none_and_a_half_for_half_of_it():
    target = image(16, 20, 3)
    for share in (0.0, 0.5, 1.0, 3.0):
        curve = spectral_error(share * target, target)
        torch.testing.assert_close(curve, torch.full((9,), abs(1 - share), dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("down", "across", "ring"), [(0, 6, 6), (3, 4, 5), (6, 8, 10)])
def test_a_wave_that_is_not_fitted_is_found_in_its_ring(down: int, across: int, ring: int):
    seen, missed = 0.5 + 0.2 * wave(32, 32, 2, 0), 0.2 * wave(32, 32, down, across)
    curve = spectral_error(seen, seen + missed)
    expected = torch.full((17,), torch.nan, dtype=torch.float64)
    expected[[0, 2]], expected[ring] = 0.0, 1.0
    torch.testing.assert_close(curve, expected, atol=1e-5, rtol=0, equal_nan=True)
    assert mean_spectral_error(seen, seen + missed) == pytest.approx(1 / 3, abs=1e-5)


def test_rings_of_an_oblong_image_count_along_its_shorter_side():
    seen, missed = torch.full((16, 48, 1), 0.5), wave(16, 48, 0, 12)
    assert spectral_error(seen, seen + missed)[4] == pytest.approx(1.0), "12 periods in 48 pixels are 4 in 16"


def test_a_target_without_waves_leaves_the_rings_open_and_the_score_finite():
    black, red = torch.zeros(8, 8, 3), torch.tensor([0.5, 0.0, 0.0]).expand(8, 8, 3)
    assert spectral_error(red, black).isnan().all()
    assert (mean_spectral_error(red, black), mean_spectral_error(black, black)) == (1.0, 0.0)
    assert mean_spectral_error(0.5 * red, red) == pytest.approx(0.5)


def test_the_spectral_error_does_not_clip():
    target = image(8, 8, 1)
    assert mean_spectral_error(5 * target, target) == pytest.approx(4.0, rel=1e-5)
