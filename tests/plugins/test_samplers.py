"""Batch samplers: distinct items, the scores and shares of the papers, and runs that go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fieldengine.config.scene import read_scene
from fieldengine.errors import SceneError, TrainingError
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training import checkpoint, loop
from fieldengine.training.fit import Fit
from fieldengine.training.oracle import Residuals
from fieldengine.training.step import training_step
from fieldengine.types import Aabb, Domain, Rendered, RunContext
from fieldengine_plugins.hooks import batches
from fieldengine_plugins.hooks.egra import Egra
from fieldengine_plugins.hooks.evos import Evos
from fieldengine_plugins.hooks.expansive import Expansive
from fieldengine_plugins.hooks.int import Int
from fieldengine_plugins.hooks.nint import Nint, kernel_share
from fieldengine_plugins.hooks.soft_mining import SoftMining
from fieldengine_plugins.hooks.uniform import Uniform

H, W, STEPS = 13, 7, 40
N = H * W
EDGE = 4  # the first bright column of the image
Make = Callable[..., Fit]
Chosen = Callable[[Fit, range], list[Tensor]]
SAMPLERS: list[Any] = [
    Uniform(),
    Egra(),
    Expansive(),
    SoftMining(warmup=5),
    Int(growth="constant"),
    Evos(interval=8, final_interval=6, cfs_steps=20),
    Evos(interval=8, final_interval=6, cfs=False),
    Nint(),
    Nint(schedule="paper", score_every=3, candidates=30),
    Nint(score_every=4, random_share=0.2),
    Nint(scoring="batch"),
    Nint(scoring="batch", schedule="paper", candidates=10),
]
ANY_ITEMS: list[Any] = [
    Uniform(),
    Int(candidates=60),
    Nint(candidates=60, random_share=0.4),
    Nint(scoring="batch"),
]
named = lambda options: type(options).__name__  # noqa: E731


def jacobian(fit: Fit, indices: Tensor) -> Tensor:
    """(n c, q), a row after the other."""
    batch = fit.dataset.batch(indices, fit.context.generator)
    values = fit.renderer.render(fit.field, batch.items, background=batch.background, generator=None).values
    rows = [
        torch.autograd.grad(
            v, list(fit.field.parameters()), retain_graph=True, materialize_grads=True, allow_unused=True
        )
        for v in values.flatten()
    ]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def worst(errors: Tensor, k: int) -> set[int]:
    return set(errors.topk(k).indices.tolist())


# -------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("options", SAMPLERS, ids=named)
def test_a_batch_has_exactly_its_share_of_distinct_pixels(make: Make, chosen_in: Chosen, options: Any):
    for step, found in enumerate(chosen_in(make(options), range(25))):
        everything = isinstance(options, Evos) and len(found) == N
        assert everything or len(found) == int(0.2 * N) == 18, step
        assert found.dtype == torch.int64
        assert len(found.unique()) == len(found)
        assert 0 <= int(found.min()) <= int(found.max()) < N


@pytest.mark.parametrize("options", ANY_ITEMS, ids=named)
@pytest.mark.parametrize("kind", ["mesh", "procedural"])
def test_points_and_rays_are_chosen_through_a_pool(make: Make, chosen_in: Chosen, options: Any, kind: str):
    fit = make(options, kind)
    batches_ = chosen_in(fit, range(4))
    assert all(len(found.unique()) == len(found) == int(0.2 * fit.dataset.n_items) for found in batches_)
    assert not torch.equal(batches_[0].sort().values, batches_[1].sort().values)


@pytest.mark.parametrize("growth", ["constant", "linear", "step", "cosine"])
@pytest.mark.parametrize("kind", [Uniform, Egra, Expansive, SoftMining, Int, Evos, Nint])
def test_batches_grow_as_asked(make: Make, chosen_in: Chosen, kind: Any, growth: Any):
    fit = make(kind(growth=growth))
    for step in (5, 6, STEPS - 1):
        done = step / STEPS
        share = {
            "constant": 0.2,
            "linear": 0.2 + 0.8 * done,
            "step": 0.2 + 0.08 * int(10 * done),
            "cosine": 1.0 - 0.4 * (1.0 + math.cos(math.pi * done)),
        }[growth]
        found = chosen_in(fit, range(step, step + 1))[0]
        assert len(found.unique()) == len(found)
        assert len(found) in (int(share * N), N if kind is Evos else -1)


@pytest.mark.parametrize("options", SAMPLERS, ids=named)
def test_a_killed_run_goes_on_to_the_same_bits(make: Make, chosen_in: Chosen, options: Any, tmp_path: Path):
    whole, first, second = make(options), make(options), make(options)
    expected = chosen_in(whole, range(14))
    chosen_in(first, range(7))
    checkpoint.save(tmp_path, 7, {"training": loop.state_of(first, loop.Progress(7))})
    progress = loop.restore(second, checkpoint.load(tmp_path / "step_00000007")["training"], tmp_path)
    for found, wanted in zip(chosen_in(second, range(progress.step, 14)), expected[7:], strict=True):
        assert torch.equal(found, wanted)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters, second.parameters, strict=True))


def test_a_mask_is_said_to_be_the_reason(make: Make, scene: Any, scenes: Any):
    make()
    config = read_scene(scene(f"{scenes['image']}\ntraining: {{hooks: [evos]}}"), {"dataset.mask": {"random": 0.5}})
    context = RunContext(torch.device("cpu"), torch.Generator(), 0)
    with pytest.raises(SceneError, match=rf"items are all pixels of one; a mask leaves \d\d of {N}\. nint, int"):
        build_fit(config, build_dataset(config, context), context)


def test_that_many_items_are_scored_is_said_and_that_too_many_cannot_be():
    said: list[str] = []
    box = Aabb(-torch.ones(3), torch.ones(3))
    domain, context = Domain("sdf", box, 1), RunContext(torch.device("cpu"), torch.Generator(), 0, said.append)
    for n_items, candidates, times in ((batches.SLOW, None, 0), (batches.SLOW + 1, 9, 0), (batches.SLOW + 1, None, 1)):
        batches.mind_scoring_all(domain, n_items, candidates, "int", context)
        assert len(said) == times
    assert said[0].startswith("int renders all 16,385 items to score them, each time. Set `candidates: 2048`")
    with pytest.raises(ValueError, match=r"nint would render all 131,073 items to score them, which"):
        batches.mind_scoring_all(domain, batches.MANY + 1, None, "nint", context)


@pytest.mark.parametrize("name", ["egra", "soft_mining", "evos", "expansive"])
def test_samplers_of_images_refuse_other_items_before_training(scene: Any, scenes: Any, ball: Path, name: str):
    config = read_scene(scene(f"{scenes['mesh']}\ntraining: {{hooks: [{name}]}}", "mesh.yaml"))
    context = RunContext(torch.device("cpu"), torch.Generator(), 0)
    with pytest.raises(SceneError, match=rf"training\.hooks\.0 \({name}\): {name} looks at edges of an image, so"):
        build_fit(config, build_dataset(config, context), context)


@pytest.mark.parametrize("options", [Nint(), Int(), Evos()], ids=named)
def test_errors_that_are_no_numbers_are_said_with_the_step(make: Make, options: Any):
    fit = make(options)
    next(iter(fit.field.parameters())).data.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"\d+ of \d+ scores are not finite at step 0, .* Lower training\.lr"):
        training_step(fit, 0)


def test_options_that_cannot_work_are_refused(make: Make):
    with pytest.raises(ValueError, match=r"low \(50\) is above high \(40\)"):
        Egra(low=50)
    fit = make(kind="mesh")
    known: dict[str, Any] = {"domain": fit.dataset.domain, "n_items": 2_000_000, "steps": 9, "context": fit.context}
    for options in (Nint, Int):
        with pytest.raises(
            ValueError, match=r"would render all 2,000,000 items to score them, .* Set `candidates: 2048`"
        ):
            options().build(**known)
        assert options(candidates=1000).build(**known)


@pytest.mark.parametrize(("n_items", "k", "taken"), [(20, 6, [3, 4]), (1000, 40, [0, 999]), (10, 10, []), (10, 0, [])])
def test_draws_are_even_and_distinct(n_items: int, k: int, taken: list[int]):
    generator, counts, held = torch.Generator().manual_seed(0), torch.zeros(n_items), torch.tensor(taken).long()
    for _ in range(300):
        found = batches.draw(n_items, k, generator, torch.device("cpu"), held)
        assert len(found.unique()) == k
        counts[found] += 1
    mean, free = 300 * k / (n_items - len(taken)), counts[~torch.isin(torch.arange(n_items), held)]
    assert not counts[held].any()
    assert float((free - mean).abs().max()) <= 5 * math.sqrt(mean)


# -------------------------------------------------------------------------------------------------------- the oracle


@pytest.mark.parametrize("kind", ["image", "mesh", "procedural"])
def test_the_tangent_is_the_kernel_times_the_cotangent(make: Make, kind: str):
    fit, indices = make(kind=kind, tile=9), torch.tensor([5, 80, 33, 2, 64, 90, 11])
    oracle: Any = Residuals(fit)
    g = oracle.residuals(indices) + 0.1
    found = oracle.tangent(indices, g)
    fit.context.generator.manual_seed(oracle._seed)  # rays have random backgrounds
    j = jacobian(fit, indices)
    expected = j @ (j.t() @ g.flatten())
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-3, atol=1e-4 * float(found.abs().max()))
    assert not found.requires_grad
    assert all(p.grad is None for p in fit.parameters)


def test_targets_are_the_images_rows(make: Make):
    targets = Residuals(make()).targets(torch.arange(N)).view(H, W, 3)
    assert bool((targets[:, :EDGE] < 0.2).all())
    assert bool((targets[:, EDGE:] > 0.8).all())


# --------------------------------------------------------------------------------------------------------- NINT, INT


def test_the_kernel_chooses_what_moves_most_and_errors_what_is_worst(make: Make, chosen_in: Chosen):
    fit = make(Nint(schedule="paper", random_share=0.0, fraction=0.4))
    every = torch.arange(N)
    for step in (0, 1, 2):
        residuals = Residuals(fit).residuals(every)
        if step == 0:
            j = jacobian(fit, every)
            best = (j @ (j.t() @ residuals.flatten())).view(N, 3).norm(dim=-1)
        share = math.exp(-step / 10)
        n_guided, n_worst = int(share * 36), int((1 - share) * 36 + 1e-6)
        guided = best.topk(36).indices[:n_guided]  # pyright: ignore[reportPossiblyUnbound]
        errors = residuals.abs().sum(dim=-1)
        errors[guided] = -1
        (found,) = chosen_in(fit, range(step, step + 1))
        assert set(found[:n_guided].tolist()) == set(guided.tolist())
        assert set(found[n_guided : n_guided + n_worst].tolist()) == worst(errors, n_worst)


def test_the_kernels_share_is_the_papers_or_the_codes():
    paper = Nint(schedule="paper", decay=0.5, interval=20, random_share=0.6)
    for step in range(50):
        share, due = kernel_share(paper, step)
        assert share == pytest.approx(0.4 * math.exp(-0.5 * step / 20))
        assert due == (step in (0, 20, 40))
    shares = {1: 0.110, 9: 0.110, 10: 0.110, 19: 0.110, 20: 0.0406, 30: 0.0149, 40: 0.0055, 50: 0.0020, 60: 7.4e-4}
    assert {c: kernel_share(Nint(), c - 1)[0] for c in shares} == pytest.approx(shares, rel=0.02)
    assert [c for c in range(1, 200) if kernel_share(Nint(), c - 1)[1]] == [1, 10, 20, 30, 40, 50]


def test_errors_are_looked_up_as_seldom_as_asked(make: Make, chosen_in: Chosen):
    fit, asked = make(Nint(score_every=4)), []
    sampler: Any = fit.sampler
    for step in range(8):
        before = sampler.errors.clone()
        chosen_in(fit, range(step, step + 1))
        asked.append(not torch.equal(before, sampler.errors))
    # the kernel is looked at in the first call and the tenth
    assert asked == [True, False, False, False] * 2


def test_scored_by_its_batch_an_item_weighs_as_its_error_does_in_means_of_the_step_before(make: Make):
    fit = make(Nint(scoring="batch", emphasis=1.2, random_share=1.0))
    sampler: Any = fit.sampler
    training_step(fit, 0)
    mean = float(sampler.errors.mean())
    items = sampler.select(1, N, Residuals(fit))
    batch = fit.dataset.batch(items, fit.context.generator)
    values = fit.renderer.render(fit.field, batch.items, background=batch.background, generator=None)
    errors = (values.values - batch.targets).abs().sum(dim=-1).detach()
    sampler.prepare(1, fit.field, batch)
    got = torch.cat(
        [
            sampler.adjust(torch.ones(len(batch[rows]), 3), batch[rows], Rendered(values.values[rows]), rows)
            for rows in (slice(0, 5), slice(5, None))
        ]
    )
    assert torch.allclose(got, (errors / mean).clamp(max=1.2)[:, None].expand_as(got))
    assert torch.equal(sampler.errors, errors)
    assert len(got.unique()) > 5
    assert bool((got == torch.tensor(1.2)).any())


def test_scored_by_its_batch_the_kernels_choice_is_that_of_its_candidates(make: Make):
    fit = make(Nint(scoring="batch", candidates=N, schedule="paper", random_share=0.5, fraction=0.5))
    n_guided = int(0.5 * (N // 2))
    everything = torch.arange(N)
    oracle = Residuals(fit)
    change = oracle.tangent(everything, oracle.residuals(everything)).norm(dim=-1)
    found = fit.sampler.select(0, N, oracle)
    assert set(found[:n_guided].tolist()) == worst(change, n_guided)
    assert len(found.unique()) == N // 2


def test_int_takes_the_worst_and_looks_ever_more_seldom(make: Make, chosen_in: Chosen):
    fit = make(Int(growth="constant"))
    errors = Residuals(fit).residuals(torch.arange(N)).abs().sum(dim=-1)
    assert set(chosen_in(fit, range(1))[0].tolist()) == worst(errors, 18)
    sampler: Any = fit.sampler
    grown = [sampler.select(30, n, Residuals(fit)) for n in (N, 60, 80, N, 200)]  # as many as a step affords
    assert [len(found) for found in grown] == [18, 12, 16, 18, 40]
    assert all(torch.equal(found, grown[0][: len(found)]) for found in grown[:4]), "and none of them is a look-up"
    assert set(grown[4].tolist()) > set(grown[0].tolist())
    sampler.steps = 1000
    assert [sampler.interval(t) for t in (0, 249, 250, 399, 401, 551, 701, 851, 999)] == [
        1, 1, 10, 10, 20, 30, 40, 50, 50]  # fmt: skip
