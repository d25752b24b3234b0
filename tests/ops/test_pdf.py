"""Drawing from a piecewise-constant density, against its own distribution function."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ops import sample_pdf


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def passed(borders: Tensor, weights: Tensor, t: Tensor) -> Tensor:
    """The share of the weight that lies before t, ray by ray: (n, s)."""
    parts = ((t[:, :, None] - borders[:, None, :-1]) / (borders[:, 1:] - borders[:, :-1])[:, None]).clamp(0, 1)
    return (parts * weights[:, None]).sum(-1) / weights.sum(-1, keepdim=True)


def test_sample_i_lies_where_its_share_of_the_weight_is_passed():
    borders, weights = random(40, 13).cumsum(1), random(40, 12, seed=1)
    weights[weights < 0.4] = 0
    weights[:, 0] += 0.01
    for jitter, parts in ((None, torch.full((40, 30), 0.5)), (j := random(40, 30, seed=2), j)):
        t = sample_pdf(borders, weights, 30, jitter)
        torch.testing.assert_close(passed(borders, weights, t), ((torch.arange(30) + parts) / 30).double())


def test_nothing_is_drawn_where_there_is_no_weight():
    borders = torch.linspace(0, 1, 11, dtype=torch.float64).expand(5, 11)
    weights = torch.zeros(5, 10, dtype=torch.float64)
    weights[:, 3], weights[:, 7] = 1.0, 2.0
    t = sample_pdf(borders, weights, 300, random(5, 300))
    assert (((t >= 0.3) & (t <= 0.4)) | ((t >= 0.7) & (t <= 0.8))).all()
    assert ((t < 0.5).sum(1) == 100).all()


def test_samples_ascend():
    t = sample_pdf(random(20, 9).cumsum(1), random(20, 8, seed=1), 50, random(20, 50, seed=2))
    assert (t[:, 1:] >= t[:, :-1]).all()


def test_no_weight_at_all_is_even_weight():
    borders = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])
    torch.testing.assert_close(sample_pdf(borders, torch.zeros(1, 4), 8), 0.25 + 0.5 * torch.arange(8.0)[None])


def test_no_rays_give_no_samples():
    assert sample_pdf(torch.zeros(0, 5), torch.zeros(0, 4), 3).shape == (0, 3)
