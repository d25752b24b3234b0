"""Rounds of items: each once, evenly spread, the same after a resume."""

from __future__ import annotations

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torch import Tensor

from fieldengine.config.scene import read_scene
from fieldengine.runs.build import build_dataset
from fieldengine.types import Domain, RunContext
from fieldengine_plugins.hooks import rounds
from fieldengine_plugins.hooks.rounds import Rounds

SIDE = 64
NONE = torch.empty(0, dtype=torch.int64)


def context(seed: int = 0) -> RunContext:
    return RunContext(torch.device("cpu"), torch.Generator().manual_seed(seed), seed)


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    """That of a square image."""
    folder = tmp_path_factory.mktemp("image")
    iio.imwrite(folder / "p.png", np.zeros((SIDE, SIDE, 3), dtype=np.uint8))
    (folder / "scene.yaml").write_text("dataset: {type: image, path: p.png}")
    return build_dataset(read_scene(folder / "scene.yaml", []), context()).domain


def unevenness(items: Tensor) -> float:
    """The largest difference from the mean, over 8 x 8 squares, of how many of the items lie in one, in means."""
    row, column = torch.div(items, SIDE, rounding_mode="floor"), items % SIDE
    square = torch.div(row, 8, rounding_mode="floor") * 8 + torch.div(column, 8, rounding_mode="floor")
    counts = torch.bincount(square, minlength=64).double()
    return float((counts / counts.mean() - 1.0).abs().max())


@pytest.mark.parametrize(("n_items", "n"), [(SIDE * SIDE, 819), (SIDE * SIDE, 1), (1000, 300), (7, 3), (5, 4)])
def test_a_batch_is_distinct_and_a_round_holds_every_item_once(domain: Domain, n_items: int, n: int):
    turns = Rounds(domain, n_items, context())
    whole = turns.take(n_items, NONE)
    assert torch.equal(whole.sort().values, torch.arange(n_items))
    for _ in range(20):  # across the ends of rounds, too
        assert len(turns.take(n, NONE).unique()) == n


def test_items_that_are_taken_already_are_left_out(domain: Domain):
    turns, taken = Rounds(domain, 50, context()), torch.tensor([3, 40, 7])
    found = turns.take(47, without=taken)
    assert sorted([*found.tolist(), 3, 40, 7]) == list(range(50))


def test_batches_of_pixels_are_spread_over_the_image_unlike_chances(domain: Domain):
    turns, generator = Rounds(domain, SIDE * SIDE, context()), torch.Generator().manual_seed(0)
    by_chance = unevenness(torch.randperm(SIDE * SIDE, generator=generator)[:819])
    assert by_chance > 0.5
    for _ in range(4):
        assert unevenness(turns.take(819, NONE)) < 0.3


def test_batches_of_other_items_are_spread_along_their_numbers(domain: Domain):
    found = Rounds(domain, 10_000, context()).take(500, NONE).sort().values
    assert int(found.diff().max()) <= 2.7 * 20  # of three gap lengths, the largest is the sum of the others


def test_very_many_items_have_their_turn_in_one_of_several_rounds(domain: Domain, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rounds, "MOST", 100)
    turns = Rounds(domain, 1003, context())
    first = turns.take(80, NONE)
    assert int(first.sort().values.diff().max()) <= 50  # from end to end of all of them
    again = torch.cat([first, turns.take(1003 - 80, NONE)])
    assert torch.equal(again.sort().values, torch.arange(1003))


def test_pixels_of_a_large_image_are_spread_over_it_all_the_same(domain: Domain, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rounds, "MOST", SIDE * SIDE // 4)  # a comb of every fourth would hold whole columns
    turns = Rounds(domain, SIDE * SIDE, context())
    for _ in range(4):
        batch = turns.take(819, NONE)
        assert unevenness(batch) < 0.3
        assert float(torch.bincount(batch % SIDE, minlength=SIDE).min()) >= 8


def test_rounds_begin_at_random_and_go_on_where_they_were(domain: Domain):
    one, other = (Rounds(domain, 999, context(seed)) for seed in (0, 1))
    assert not torch.equal(one.take(200, NONE), other.take(200, NONE))
    other.load_state_dict(one.state_dict())
    other.context.generator.set_state(one.context.generator.get_state())
    for _ in range(8):
        assert torch.equal(one.take(200, NONE), other.take(200, NONE))
