"""A training step: tiles and identity hooks change nothing, and one tile is the loop anyone would write."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from fieldengine.config.scene import read_scene
from fieldengine.errors import PluginError
from fieldengine.kinds.hook import Lattice
from fieldengine.plugins.registry import Registry
from fieldengine.precision import matrix_products
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.oracle import Residuals
from fieldengine.training.penalties import VisitedPlaces
from fieldengine.training.step import backpropagate, training_step
from fieldengine.training.tiles import tiles
from fieldengine.training.trial import spread
from fieldengine.types import Batch, Items, Points, Rays, Rendered, RunContext

IMAGE = """
dataset: {{type: image, path: {photo}}}
field: {{encoding: identity, activation: {{type: finer, omega: 5, first_omega: 5}}, width: 8, depth: 2}}
training: {{batch_size: 100, lr: 1.0e-2, seed: 3}}
"""
MESH = """
dataset: {{type: mesh, path: {ball}, n_samples: 2000}}
field: {{encoding: identity, activation: {{type: finer, omega: 5, first_omega: 5}}, width: 8, depth: 2}}
training: {{batch_size: 100, lr: 1.0e-2, loss: l1, seed: 3}}
"""
PROCEDURAL = """
dataset: {{type: procedural, views: 3, test_views: 1, size: 16}}
field: {{encoding: {{type: hash_grid, n_levels: 2, log2_table: 8, finest: 32}}, width: 8, color_depth: 1}}
renderer: {{sampler: {sampler}}}
training: {{batch_size: 100, lr: 1.0e-2, loss: smooth_l1, seed: 3}}
"""
STRATIFIED = "{type: stratified, n_samples: 12}"
OCCUPANCY = "{type: occupancy, resolution: 8, steps: 24, warmup: 4, every: 2}"
SCENES = {
    "image": IMAGE,
    "mesh": MESH,
    "stratified": PROCEDURAL.replace("{sampler}", STRATIFIED.replace("{", "{{").replace("}", "}}")),
    "occupancy": PROCEDURAL.replace("{sampler}", OCCUPANCY.replace("{", "{{").replace("}", "}}")),
}
KINDS = list(SCENES)
RAYS = ["stratified", "occupancy"]

MakeFit = Callable[..., Fit]


@pytest.fixture(scope="module")
def prepared() -> dict[Any, Any]:
    """Checked scenes and data sets, which nothing changes while they are used, for all tests of this file."""
    return {"registry": Registry()}


@pytest.fixture
def make(request: pytest.FixtureRequest, scene: Callable[[str], Path], prepared: dict[Any, Any]) -> MakeFit:
    """Everything a step of a tiny scene works with."""

    def build(kind: str, overrides: Mapping[str, Any] | None = None, **changes: Any) -> Fit:
        asked = kind, str(overrides)
        if asked not in prepared:
            files = {name: request.getfixturevalue(name) for name in ("photo", "ball")}
            prepared[asked] = read_scene(scene(SCENES[kind].format(**files)), overrides or {}, prepared["registry"])
        config = prepared[asked]
        seed = config.training.seed
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(seed), seed)
        data = config.dataset, seed
        if data not in prepared:
            prepared[data] = build_dataset(config, context)
        fit, _ = build_fit(config, prepared[data], context)
        for name, value in changes.items():
            setattr(fit, name, value)
        fit.span = fit.transform.span if fit.transform else "item"
        return fit

    return build


def weights(fit: Fit) -> Tensor:
    return torch.cat([p.detach().flatten() for p in fit.parameters])


def gradients(fit: Fit) -> Tensor:
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in fit.parameters])


def trained(fit: Fit, steps: int = 5) -> Tensor:
    for step in range(steps):
        training_step(fit, step)
    return weights(fit)


def all_items(fit: Fit) -> Batch:
    return fit.dataset.batch(torch.arange(fit.dataset.n_items), fit.context.generator)


class Identity:
    """A gradient transform that changes nothing, and remembers what it was given."""

    def __init__(self, span: Literal["item", "tile", "batch"], order: Callable[[int], Tensor] | None = None):
        self.span, self.order = span, order
        self.seen: list[Items] = []

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> Tensor | None:
        return self.order(len(batch)) if self.order else None

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
        self.seen.append(batch.items)
        return cotangent


def shuffled(n: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(1))


# ----------------------------------------------------------------------------------------------------------- tiles


@pytest.mark.parametrize(("n", "size"), [(10, 1), (10, 3), (10, 10), (10, 99), (1, 1)])
def test_tiles_cover_every_row_once_in_order(n: int, size: int):
    rows = torch.arange(n)
    parts = [rows[part] for part in tiles(n, size)]
    assert torch.equal(torch.cat(parts), rows)
    assert all(len(part) <= size for part in parts)


def test_blocks_stay_whole_and_fill_tiles():
    lengths = [3, 2, 4, 0, 1, 7, 1]
    assert list(tiles(18, 5, lengths)) == [slice(0, 5), slice(5, 10), slice(10, 17), slice(17, 18)]
    assert list(tiles(18, 1, [18])) == [slice(0, 18)]


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_of_any_size_give_the_gradients_of_one_tile(make: MakeFit, kind: str):
    fit = make(kind)
    trained(fit, 2)  # away from the start, where a hash table is nearly zero
    batch = all_items(fit)
    batch = batch[torch.arange(0, len(batch), max(1, len(batch) // 100))]
    state = fit.context.generator.get_state()
    found = {}
    for tile in (len(batch) + 5, len(batch), 64, 7, 1):
        fit.tile = tile
        fit.context.generator.set_state(state)
        fit.optimizer.zero_grad()
        report = backpropagate(fit, batch, 0, len(batch), VisitedPlaces(fit))
        found[tile] = gradients(fit), report
    one, reference = found[len(batch) + 5]
    assert one.abs().max() > 0
    for tile, (gradient, report) in found.items():
        torch.testing.assert_close(gradient, one, rtol=1e-4, atol=2e-6 * float(one.abs().max()), msg=f"tile {tile}")
        torch.testing.assert_close(report.loss, reference.loss, rtol=1e-5, atol=0)
        torch.testing.assert_close(report.squared_error, reference.squared_error, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_training_in_small_tiles_ends_where_training_in_one_tile_does(make: MakeFit, kind: str):
    whole, pieces = (trained(make(kind, tile=tile)) for tile in (4096, 33))
    torch.testing.assert_close(pieces, whole, rtol=1e-3, atol=1e-5)


def test_how_many_rays_a_step_affords_does_not_depend_on_the_tile(make: MakeFit):
    tight = {"renderer.sampler.samples_per_step": 600}
    counts = []
    for tile in (4096, 33, 7):
        fit = make("occupancy", tight, tile=tile)
        counts.append([training_step(fit, step).n_items for step in range(6)])
    assert counts[0][0] < 100, "the samples are scarce enough to cut the batch"
    assert counts[1] == counts[0]
    assert counts[2] == counts[0]


def test_the_tile_bounds_what_is_rendered_at_once(make: MakeFit):
    fit = make("image", tile=30)
    sizes: list[int] = []
    render = fit.renderer.render

    def spy(field: Any, items: Items, **rest: Any) -> Rendered:
        sizes.append(len(items))
        return render(field, items, **rest)

    fit.renderer.render = spy
    training_step(fit, 0)
    assert sizes == [30, 30, 30, 10]


# ----------------------------------------------------------------------------------------- the loop anyone would write


@pytest.mark.parametrize("kind", ["image", "mesh"])
def test_a_step_of_one_tile_is_a_plain_torch_loop_bit_for_bit(make: MakeFit, kind: str):
    fit = make(kind)
    field = copy.deepcopy(fit.field).train()
    generator = torch.Generator()
    generator.set_state(fit.context.generator.get_state())
    everything = all_items(fit)
    x, y = everything.items.positions, everything.targets
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2, fused=True)
    for step in range(5):
        chosen = torch.randint(len(x), (100,), generator=generator)
        error = field.values(x[chosen]) - y[chosen]
        loss = (error.square() if kind == "image" else error.abs()).mean(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report = training_step(fit, step)
        assert float(report.loss) == pytest.approx(loss.item(), rel=1e-6)
    assert torch.equal(weights(fit), torch.cat([p.detach().flatten() for p in field.parameters()]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(make: MakeFit, kind: str):
    first, again, other = (trained(make(kind, {"training.seed": seed})) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_lower_the_loss(make: MakeFit, kind: str):
    fit = make(kind)
    losses = [float(training_step(fit, step).loss) for step in range(40)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_step_leaves_global_random_state_alone(make: MakeFit):
    fit = make("occupancy")
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    training_step(fit, 0)
    assert torch.equal(torch.rand(3), expected)


def test_the_report_is_the_mean_over_the_items_before_the_update(make: MakeFit):
    fit = make("mesh", {"training.batch_size": "full"}, tile=300)
    batch = all_items(fit)
    error = fit.field.values(batch.items.positions).detach() - batch.targets
    report = training_step(fit, 0)
    assert report.n_items == 2000
    assert float(report.loss) == pytest.approx(float(error.abs().mean()), rel=1e-5)
    assert float(report.squared_error) == pytest.approx(float(error.square().mean()), rel=1e-5)


def test_clip_bounds_the_norm_of_the_whole_gradient(make: MakeFit):
    free, bound = make("image"), make("image", {"training.clip": 1e-3})
    training_step(free, 0)
    training_step(bound, 0)
    assert gradients(free).norm() > 1e-3
    assert float(gradients(bound).norm()) == pytest.approx(1e-3, rel=1e-3)
    torch.testing.assert_close(gradients(bound), gradients(free) * (1e-3 / gradients(free).norm()), rtol=1e-3, atol=0)


# ------------------------------------------------------------------------------------------------- gradient transforms


@pytest.mark.parametrize("tile", [4096, 33])
@pytest.mark.parametrize("span", ["item", "tile", "batch"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_identity_transform_is_plain_training_bit_for_bit(make: MakeFit, kind: str, span: Any, tile: int):
    plain = make(kind, tile=tile)
    transformed = make(kind, tile=tile, transform=Identity(span))
    assert torch.equal(trained(plain), trained(transformed))
    for name, value in plain.renderer.state_dict().items():
        assert torch.equal(value, transformed.renderer.state_dict()[name]), f"what the renderer remembers: {name}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("span", ["item", "tile"])
def test_a_transform_gets_its_tiles_in_the_order_it_asked_for(make: MakeFit, kind: str, span: Any):
    transform = Identity(span, shuffled)
    fit = make(kind, tile=33, transform=transform)
    batch = all_items(fit)[torch.arange(100)]
    backpropagate(fit, batch, 0, len(batch), VisitedPlaces(fit))
    expected = [batch.items[shuffled(100)[first : first + 33]] for first in range(0, 100, 33)]
    assert [len(items) for items in transform.seen] == [33, 33, 33, 1]
    for items, wanted in zip(transform.seen, expected, strict=True):
        for name in vars(wanted):
            assert torch.equal(getattr(items, name), getattr(wanted, name))


@pytest.mark.parametrize("kind", KINDS)
def test_a_transform_over_the_batch_gets_all_of_it_once_in_the_order_it_asked_for(make: MakeFit, kind: str):
    transform = Identity("batch", shuffled)
    fit = make(kind, tile=33, transform=transform)
    batch = all_items(fit)[torch.arange(100)]
    backpropagate(fit, batch, 0, len(batch), VisitedPlaces(fit))
    (items,) = transform.seen
    for name in vars(batch.items):
        assert torch.equal(getattr(items, name), getattr(batch.items, name)[shuffled(100)])


@pytest.mark.parametrize("kind", ["image", "mesh"])
def test_a_batch_that_is_fetched_in_pieces_gives_the_step_of_one_that_is_not(
    make: MakeFit, kind: str, monkeypatch: pytest.MonkeyPatch
):
    whole, pieces = make(kind), make(kind)
    one = training_step(whole, 0)
    monkeypatch.setattr("fieldengine.training.step.FETCH", 17)
    many = training_step(pieces, 0)
    assert (one.n_items, many.n_items) == (whole.batch_size, whole.batch_size)
    torch.testing.assert_close(one.loss, many.loss)
    torch.testing.assert_close(one.squared_error, many.squared_error)
    torch.testing.assert_close(gradients(whole), gradients(pieces), rtol=1e-4, atol=1e-7)


class Weighs(Identity):
    """Scales each item's cotangent by a number that depends on its place alone."""

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
        items = batch.items
        place = items.positions if isinstance(items, Points) else items.viewdirs
        return cotangent * (1.0 + place.sum(dim=-1, keepdim=True).sin())


@pytest.mark.parametrize("kind", ["image", "mesh", "stratified"])
@pytest.mark.parametrize("order", [None, shuffled], ids=["as they come", "shuffled"])
def test_a_cotangent_adjusted_over_the_batch_meets_its_own_items(make: MakeFit, kind: str, order: Any):
    over_items, over_batch = (trained(make(kind, tile=33, transform=Weighs(span, order))) for span in ("item", "batch"))
    torch.testing.assert_close(over_batch, over_items, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_pass_over_a_batch_takes_the_samples_of_the_second_in_any_order(make: MakeFit, kind: str):
    over_items, over_batch = (trained(make(kind, transform=Identity(span, shuffled))) for span in ("item", "batch"))
    assert torch.equal(over_batch, over_items)


def test_what_a_transform_draws_moves_no_sample_and_is_not_drawn_again(make: MakeFit):
    fit = make("stratified")

    class Draws(Identity):
        def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
            self.drawn = torch.rand(5, generator=fit.context.generator)
            return cotangent

    fit.transform = draws = Draws("batch")
    over_batch, again = trained(fit, 1), torch.rand(5, generator=fit.context.generator)
    assert torch.equal(over_batch, trained(make("stratified", transform=Identity("item")), 1))
    assert not torch.equal(draws.drawn, again)


@pytest.mark.parametrize("span", ["item", "tile", "batch"])
def test_a_cotangent_of_zero_leaves_the_field_where_it_is(make: MakeFit, span: Any):
    class Stop(Identity):
        def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
            return torch.zeros_like(cotangent)

    fit = make("occupancy", tile=33, transform=Stop(span))
    before = weights(fit)
    assert torch.equal(trained(fit), before)


# ------------------------------------------------------------------------------------------------------------ samplers


class Chooses:
    """A batch sampler that gives a fixed answer."""

    def __init__(self, answer: Any):
        self.answer = answer

    def select(self, step: int, n: int, scores: Any) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (torch.tensor([0.0, 1.0]), "float32"),
        (torch.tensor([0, 1], dtype=torch.int32), "int32"),
        (torch.tensor([[0, 1]]), r"shape \(1, 2\)"),
        (torch.tensor([], dtype=torch.int64), r"shape \(0,\)"),
        (torch.tensor([3, -1]), r"items -1 to 3; there are 0 to 383"),
        (torch.tensor([384, 5]), r"items 5 to 384; there are 0 to 383"),
        (torch.zeros(384, dtype=torch.bool), "bool"),
    ],
)
def test_a_sampler_that_answers_nonsense_is_refused_with_what_it_said(make: MakeFit, answer: Tensor, complaint: str):
    fit = make("image", sampler=Chooses(answer))
    before = weights(fit)
    with pytest.raises(PluginError, match=f"`select` returned.*{complaint}"):
        training_step(fit, 0)
    assert torch.equal(weights(fit), before)


def test_a_sampler_may_take_an_item_often_and_any_number_of_items(make: MakeFit):
    fit = make("image", sampler=Chooses(torch.tensor([5, 5, 7])))
    assert training_step(fit, 0).n_items == 3


def spied_indices(fit: Fit, steps: int) -> list[Tensor]:
    """The items that steps fetch."""
    seen: list[Tensor] = []
    dataset = fit.dataset

    class Spy:
        n_items, domain = dataset.n_items, dataset.domain

        def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
            seen.append(indices)
            return dataset.batch(indices, generator)

    spy: Any = Spy()
    fit.dataset = spy
    for step in range(steps):
        training_step(fit, step)
    return seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", ["full", 10_000])
def test_a_full_batch_takes_every_item_once(make: MakeFit, kind: str, size: Any):
    fit = make(kind, {"training.batch_size": size})
    for indices in spied_indices(fit, 2):
        assert torch.equal(indices.sort().values, torch.arange(fit.dataset.n_items))


def test_a_smaller_batch_is_drawn_evenly_and_anew_each_step(make: MakeFit):
    fit = make("image", {"training.batch_size": 96})
    seen = spied_indices(fit, 120)
    assert all(len(indices) == 96 for indices in seen)
    counts = torch.bincount(torch.cat(seen), minlength=384).float()
    assert len(counts) == 384
    assert 20 < counts.mean() < 40
    # of 120 * 96 draws each item gets 30 on average; chi-square of 383 degrees of freedom is 383 +- 28
    assert 383 - 5 * 28 < float(((counts - 30) ** 2 / 30).sum()) < 383 + 5 * 28


@pytest.mark.parametrize("kind", RAYS)
def test_all_questions_of_a_step_meet_the_same_backgrounds_and_the_next_ones_others(make: MakeFit, kind: str):
    fit = make(kind)
    items, asked, state = torch.arange(100), Residuals(fit), fit.context.generator.get_state()
    assert torch.equal(asked.targets(items), asked.targets(items))
    assert torch.equal(asked.residuals(items), asked.residuals(items))
    g = torch.ones(100, 3)
    assert torch.equal(asked.tangent(items, g), asked.tangent(items, g))
    assert torch.equal(fit.context.generator.get_state(), state), "a question leaves no trace"
    training_step(fit, 0)
    assert not torch.equal(asked.targets(items), Residuals(fit).targets(items)), "there are pixels that nothing covers"


def test_questions_take_no_more_rays_at_once_than_a_step(make: MakeFit):
    fit = make("occupancy", {"training.batch_size": 200, "renderer.sampler.samples_per_step": 256})
    most, sizes = fit.renderer.max_batch(200), []
    assert most < 100
    render = fit.renderer.render

    def spied(field: Any, items: Any, **others: Any) -> Rendered:
        sizes.append(len(items))
        return render(field, items, **others)

    fit.renderer.render = spied
    Residuals(fit).residuals(torch.arange(150))
    assert max(sizes) == most
    assert sum(sizes) == 150


def test_items_of_a_trial_are_spread_over_all_there_are_however_many():
    n_items = 25_005_001  # the last of which is no float32
    assert spread(n_items, 4, torch.device("cpu")).tolist() == [0, 8335000, 16670000, 25005000]
    assert spread(5, 1, torch.device("cpu")).tolist() == [0]
    assert spread(5, 3, torch.device("meta")).device.type == "meta"


@pytest.mark.parametrize("span", ["item", "batch"])
def test_hooks_compute_in_float32_where_training_does_not(make: MakeFit, span: Any):
    asked = []

    class Product:
        def select(self, step: int, n: int, scores: Any) -> Tensor:
            asked.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
            return torch.arange(n)

    class Products(Identity):
        def prepare(self, step: int, field: nn.Module, batch: Batch) -> Tensor | None:
            asked.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
            return None

        def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
            asked.append((cotangent @ torch.eye(3)).dtype)
            return cotangent

    class Penalty(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            asked.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
            return grads[0]

    class Penalised:
        points = Lattice(2)

        def penalty(self, step: int, field: Any, points: Tensor) -> Tensor:
            return Penalty.apply(field.values(points).sum())  # pyright: ignore[reportReturnType]

    fit = make("image", sampler=Product(), transform=Products(span), regularizers=[Penalised()])
    with matrix_products("half", torch.device("cpu")):
        training_step(fit, 0)
    assert set(asked) == {torch.float32}
    assert len(asked) >= 4


def test_penalties_add_up_beside_the_loss_of_the_data(make: MakeFit):
    class Two:
        points = Lattice(2)

        def penalty(self, step: int, field: Any, points: Tensor) -> Tensor:
            return 2.0 + 0.0 * field.values(points).sum()

    plain, punished = make("image"), make("image", regularizers=[Two(), Two()])
    without, with_them = training_step(plain, 0), training_step(punished, 0)
    assert (float(without.penalty), float(with_them.penalty)) == (0.0, 4.0)
    assert torch.equal(without.loss, with_them.loss)
    assert without.n_items == with_them.n_items


@pytest.mark.parametrize(
    ("penalty", "said"),
    [(torch.ones(2), r"shape \(2,\)"), (torch.ones(()), "without gradient"), (3.0, "float without")],
)
def test_a_penalty_that_is_none_is_refused(make: MakeFit, penalty: Tensor, said: str):
    class Odd:
        points = Lattice(2)

        def penalty(self, step: int, field: Any, points: Tensor) -> Tensor:
            return penalty

    with pytest.raises(PluginError, match=f"Odd: the penalty is .*{said}"):
        training_step(make("image", regularizers=[Odd()]), 0)


def test_residuals_are_rendered_minus_target_without_a_graph(make: MakeFit):
    fit = make("mesh", tile=33)
    chosen = torch.tensor([1999, 0, 7, 7, *range(100)])
    found = Residuals(fit).residuals(chosen)
    batch = fit.dataset.batch(chosen, fit.context.generator)
    torch.testing.assert_close(found, fit.field.values(batch.items.positions).detach() - batch.targets)
    assert not found.requires_grad
    assert Residuals(fit).n_items == 2000


def test_asking_for_residuals_changes_nothing_that_is_remembered(make: MakeFit):
    fit = make("occupancy")
    trained(fit, 2)
    before = {name: value.clone() for name, value in (fit.field.state_dict() | fit.renderer.state_dict()).items()}
    Residuals(fit).residuals(torch.arange(50))
    after = fit.field.state_dict() | fit.renderer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


# ------------------------------------------------------------------------------------------------------- empty space


class LooksAway:
    """Rays of another data set, of which those at `missing` are turned so that they meet nothing."""

    def __init__(self, dataset: Any, missing: Callable[[Tensor], Tensor]):
        self.dataset, self.missing = dataset, missing
        self.n_items, self.domain = dataset.n_items, dataset.domain

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        batch = self.dataset.batch(indices, generator)
        turn = torch.where(self.missing(indices), -1.0, 1.0)[:, None]
        rays = Rays(batch.items.origins, batch.items.viewdirs * turn)
        return Batch(rays, batch.targets, batch.background, indices)


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("transform", [None, Identity("item"), Identity("batch")], ids=["plain", "item", "batch"])
@pytest.mark.parametrize("kind", RAYS)
def test_rays_that_meet_nothing_show_the_background_and_move_nothing(
    make: MakeFit, kind: str, transform: Any, clip: Any
):
    fit = make(kind, clip=clip, tile=33, transform=transform)
    away: Any = LooksAway(fit.dataset, lambda indices: torch.ones_like(indices, dtype=torch.bool))
    fit.dataset = away
    before = weights(fit)
    state = fit.context.generator.get_state()
    report = training_step(fit, 1)  # an odd step: the occupancy grid is not refreshed and draws nothing
    assert torch.equal(weights(fit), before)
    fit.context.generator.set_state(state)
    batch = away.batch(fit.sampler.select(1, 100, Residuals(fit)), fit.context.generator)
    squared = (batch.background - batch.targets).square().mean()
    assert float(report.squared_error) == pytest.approx(float(squared), rel=1e-5)


@pytest.mark.parametrize("transform", [None, Identity("batch")], ids=["plain", "batch"])
def test_values_that_depend_on_no_parameter_move_nothing(make: MakeFit, transform: Any):
    fit = make("occupancy", transform=transform, clip=0.1)
    before = weights(fit)
    fit.renderer.render = lambda field, items, *, background, generator: Rendered(background)
    assert training_step(fit, 1).n_items == 100
    assert torch.equal(weights(fit), before)


@pytest.mark.parametrize("kind", RAYS)
def test_tiles_without_a_sample_are_no_obstacle_to_the_others(make: MakeFit, kind: str):
    fit = make(kind, tile=10, sampler=Chooses(torch.arange(320, 420)))
    half: Any = LooksAway(fit.dataset, lambda indices: indices < 370)
    fit.dataset = half
    before = weights(fit)
    assert bool(trained(fit, 3).isfinite().all())
    assert not torch.equal(weights(fit), before)


@pytest.mark.parametrize("kind", RAYS)
def test_a_image_that_nothing_was_hit_in_has_its_background(make: MakeFit, kind: str):
    fit = make(kind)
    rays = Rays(torch.full((5, 3), 9.0), torch.eye(3)[[0, 1, 2, 0, 1]])
    behind = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    rendered = fit.renderer.render(fit.field, rays, background=behind, generator=fit.context.generator)
    assert torch.equal(rendered.values, behind)
    assert not rendered.opacity.any()
