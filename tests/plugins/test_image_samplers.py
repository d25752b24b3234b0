"""Samplers of images: edges where edges are, EVOS' ranking and loss, soft mining's particles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fieldengine.kinds.hook import UNCHANGED
from fieldengine.training.fit import Fit
from fieldengine.training.oracle import Residuals
from fieldengine.training.step import training_step
from fieldengine_plugins.hooks import edges, evos, expansive, images
from fieldengine_plugins.hooks.egra import Egra
from fieldengine_plugins.hooks.evos import Evos
from fieldengine_plugins.hooks.expansive import Expansive
from fieldengine_plugins.hooks.soft_mining import SMALLEST, SoftMining

H, W = 13, 7
N = H * W
EDGE = 4  # the first bright column of the image
Make = Callable[..., Fit]
Chosen = Callable[[Fit, range], list[Tensor]]


# ------------------------------------------------------------------------------------------------------------- edges


def test_edges_lie_where_the_image_changes_whatever_its_shape():
    steep = torch.zeros(H, W)
    steep[:, EDGE:] = 200.0
    for image, turned in ((steep, False), (steep.t(), True)):
        found = edges.canny(image, 30, 40)
        columns = (found.t() if turned else found).any(dim=0).nonzero().flatten().tolist()
        assert columns in ([EDGE - 1], [EDGE])
        assert int(found.sum()) == H
    assert not edges.canny(torch.full((H, W), 99.0), 1, 2).any()
    fading = steep * torch.linspace(1.0, 0.05, H)[:, None]  # 4 |dx|: 800 down to 40
    both, high = edges.canny(fading, 100, 500), edges.canny(fading, 500, 500)
    assert 0 < int(high.sum()) < int(both.sum())
    assert torch.equal(high & both, high), "weak edges come to strong ones they are joined to"
    assert not edges.canny(fading, 100, 900).any(), "weak edges alone are none"
    assert EDGE - 1 <= edges.otsu(torch.tensor([[3.0, 4.0, 200.0, 210.0]])) < 200


def test_weak_edges_come_along_chains_of_eight_neighbours():
    weak = torch.zeros(H, W, dtype=torch.bool)
    chain = [(0, 0), (1, 1), (2, 1), (3, 0), (4, 1), (4, 2), (5, 3), (6, 2)]
    for row, column in [*chain, (0, 6), (1, 6), (9, 6), (10, 0)]:  # the ends of rows are no neighbours
        weak[row, column] = True
    strong = torch.zeros_like(weak)
    strong[4, 1] = True
    assert edges.joined(strong, weak).nonzero().tolist() == [list(place) for place in chain]


def test_expansive_holds_edges_and_egra_prefers_them_moved(make: Make, chosen_in: Chosen):
    found = torch.stack(chosen_in(make(Expansive(random_share=0.5)), range(6)))
    columns = found[:, :9] % W
    assert torch.equal(found[0, :9], found[5, :9])
    assert EDGE - 1 <= int(columns.min()) <= int(columns.max()) <= EDGE + 1
    assert not torch.equal(found[0, 9:], found[5, 9:])
    wide = torch.zeros(40, 40)
    wide[10:30, 10:30] = 200
    assert 50 <= int(expansive.edges_of_area(wide, 60).sum()) <= 200
    rough = 255 * torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0)) ** 3
    rough = torch.nn.functional.interpolate(rough, size=(120, 120), mode="bicubic")[0, 0].round()
    for wanted in (700, 1500, 3000, 5000):
        assert 0.8 * wanted <= int(expansive.edges_of_area(rough, wanted).sum()) <= 1.2 * wanted
    fit = make(Egra(edge_weight=0.999, fraction=0.1))
    places = (torch.cat(chosen_in(fit, range(8))) - fit.sampler.edges[0]) % N  # pyright: ignore
    assert float(torch.isin(places % W, torch.tensor([6, 7 % W, 8 % W, 9 % W])).float().mean()) > 0.9


# -------------------------------------------------------------------------------------------------------------- EVOS


def test_evos_looks_at_all_from_time_to_time_and_lets_the_worst_survive(make: Make, chosen_in: Chosen):
    fit = make(Evos(cfs=False))
    sampler: Any = fit.sampler
    sampler.steps, sampler.ranking = 5000, torch.arange(N)
    fitness = [t for t in range(1, 5001) if sampler.is_fitness_step(t - 1)]
    assert fitness == [t for t in range(1, 5001) if t % int(100 - 50 * t / 5000) == 1]
    (_, found) = chosen_in(make(Evos(cfs=False)), range(2))
    fit = make(Evos(cfs=False))
    residuals = Residuals(fit).residuals(torch.arange(N))
    assert torch.equal(found[:9], evos.crossover(residuals, (H, W), 9)[:9])


def test_a_crossover_is_the_slow_obvious_one():
    residuals = torch.randn(N, 3, generator=torch.Generator().manual_seed(1)) * 0.2
    grey = 255 * (residuals * torch.tensor([0.299, 0.587, 0.114])).sum(-1).view(H, W)
    around = torch.zeros(H + 2, W + 2)
    around[1:-1, 1:-1] = grey
    lap = [around[r][c + 1] + around[r + 2][c + 1] + around[r + 1][c] + around[r + 1][c + 2] - 4 * around[r + 1][c + 1]
           for r in range(H) for c in range(W)]  # fmt: skip
    torch.testing.assert_close(images.laplacian(grey).flatten(), torch.stack(lap), rtol=1e-4, atol=1e-3)
    e, l = 4 * residuals.square().mean(-1), 1e-5 * torch.stack(lap).square()  # noqa: E741
    first, second = e.argsort(descending=True)[:20].tolist(), l.argsort(descending=True)[:20].tolist()
    both = [i for i in first if i in second]
    missing = 20 - len(both)
    n_first = int(missing * float(e.mean() / (e.mean() + l.mean())))
    best = [i for i in first if i not in second][:n_first] + [i for i in second if i not in first][: missing - n_first]
    found = evos.crossover(residuals, (H, W), 20)
    assert found[:20].tolist() == both + best
    assert sorted(found.tolist()) == list(range(N))


@pytest.mark.parametrize("step", [0, 3])
def test_the_cross_frequency_loss_has_its_gradient(make: Make, chosen_in: Chosen, step: int):
    fit = make(Evos(weight=0.3))
    sampler: Any = fit.sampler
    chosen_in(fit, range(step))
    indices = sampler.select(step, N, Residuals(fit))
    batch = fit.dataset.batch(indices, fit.context.generator)
    assert sampler.prepare(step, fit.field, batch) is None
    assert sampler.span == "batch"
    leaf = fit.field.values(batch.items.positions).detach().requires_grad_()  # pyright: ignore
    image = sampler.residuals.index_put((indices,), leaf - batch.targets)
    loss = images.laplacian(images.grey(image, (H, W))).flatten()[indices].square().mean()
    (expected,) = torch.autograd.grad(0.3 / 4 * loss, leaf)
    rendered: Any = type("Rendered", (), {"values": leaf.detach()})
    found = sampler.adjust(torch.zeros_like(expected), batch, rendered, slice(0, len(expected)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert sampler.prepare(1500, fit.field, batch[:5]) is UNCHANGED


# -------------------------------------------------------------------------------------------------------- soft mining


def test_particles_climb_the_logarithm_of_the_loss_and_are_weighed(make: Make, chosen_in: Chosen):
    fit = make(SoftMining(warmup=4))
    sampler: Any = fit.sampler
    chosen_in(fit, range(2))
    indices = sampler.select(2, N, Residuals(fit))
    rows, columns = indices // W, indices % W
    torch.testing.assert_close(sampler.particles * torch.tensor([H - 1.0, W - 1.0]),
                               torch.stack([rows, columns], 1).float(), rtol=0, atol=0.5001)  # fmt: skip
    before = sampler.errors.clone()
    field, batch = fit.field, fit.dataset.batch(indices, fit.context.generator)
    x = batch.items.positions.clone().requires_grad_()  # pyright: ignore
    residuals = field.values(x) - batch.targets  # pyright: ignore
    (slopes,) = torch.autograd.grad(residuals.square().mean(-1).log().sum() / len(x), x)
    sampler.select = lambda *_: indices
    training_step(fit, 2)
    torch.testing.assert_close(sampler._log_slopes(), slopes, rtol=1e-2, atol=1e-2 * float(slopes.abs().max()))
    torch.testing.assert_close(sampler.errors, 2 * residuals.detach().abs().mean(-1))
    r = min(3 / 4, 0.6)
    bound = before.clamp(min=SMALLEST).pow(-r)
    wanted = sampler.errors.clamp(min=SMALLEST).pow(-r).clamp(min=0.2).clamp(max=float(bound.mean() + bound.std()))
    torch.testing.assert_close(sampler.weights, wanted)
    del sampler.select
    free = make(SoftMining(attraction=0.0, noise=0.0))
    start, after = chosen_in(free, range(2))
    kept = (start == after).float().mean()
    assert 0.5 < float(kept) < 1.0, "a tenth is drawn anew, another at edges"
