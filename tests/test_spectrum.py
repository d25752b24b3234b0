"""Spectra of images against waves whose spectrum is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fieldengine.spectrum import radial_spectrum, ring_numbers, wasserstein


def wave(height: int, width: int, rows: float, columns: float) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    return torch.cos(2 * math.pi * (rows * y + columns * x))[..., None]


@pytest.mark.parametrize(("rows", "columns", "ring"), [(3, 0, 3), (0, 5, 5), (3, 4, 5), (6, 8, 10)])
def test_a_wave_lies_in_the_ring_of_its_frequency(rows: int, columns: int, ring: int):
    spectrum = radial_spectrum(0.5 + 0.2 * wave(32, 32, rows, columns), 64)
    assert len(spectrum) == 16
    assert spectrum[ring - 1] == pytest.approx(1.0, abs=1e-4)


def test_frequencies_count_over_the_shorter_side():
    spectrum = radial_spectrum(wave(16, 48, 0, 9), 64)  # 9 cycles over 48 pixels are 3 over 16
    assert spectrum.argmax() == 2


def test_every_coefficient_has_a_ring_and_the_mean_is_alone_in_its():
    rings = ring_numbers(20, 31)
    assert rings.shape == (20, 31)
    assert (rings == 0).sum() == 1
    assert rings.max() == 11


def test_shares_sum_to_one_and_do_not_depend_on_contrast_brightness_or_the_number_of_channels():
    values = torch.rand(24, 40, 1, generator=torch.Generator().manual_seed(0))
    spectrum = radial_spectrum(values, 8)
    assert spectrum.shape == (8,)
    assert float(spectrum.sum()) == pytest.approx(1.0)
    other = radial_spectrum((0.1 * values + 3.0).expand(-1, -1, 3), 8)
    torch.testing.assert_close(other, spectrum, atol=1e-4, rtol=1e-3)


def test_a_image_of_one_colour_has_no_spectrum():
    assert not radial_spectrum(torch.full((16, 16, 3), 0.7), 8).any()


def test_the_distance_is_how_far_the_shares_travel():
    one = torch.tensor([1.0, 0.0, 0.0, 0.0])
    other = torch.tensor([0.0, 0.5, 0.0, 0.5])
    assert wasserstein(one, one) == 0.0
    assert wasserstein(one, other) == pytest.approx(0.5 * 1 + 0.5 * 3)
    assert wasserstein(other, one) == wasserstein(one, other)
