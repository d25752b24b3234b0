"""Inductive gradient adjustment against explicit matrices, and its bookkeeping of groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fieldengine
from fieldengine.config.scene import read_scene
from fieldengine.errors import FieldEngineError, TrainingError
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.penalties import VisitedPlaces
from fieldengine.training.step import backpropagate, training_step
from fieldengine.types import RunContext
from fieldengine_plugins.hooks import balancing
from fieldengine_plugins.hooks.balancing import balance
from fieldengine_plugins.hooks.neighbours import heaviest_samples, look_of, z_order
from fieldengine_plugins.hooks.patches import ImageGroups

MakeFit = Callable[..., Fit]


@pytest.fixture
def make(tmp_path: Path) -> MakeFit:
    """A fit of a 12 x 8 image whose pixels are all different."""
    y, x = np.mgrid[0:8, 0:12]
    image = np.stack([20 * x, 30 * y, (7 * x * y) % 255], axis=-1).astype(np.uint8)
    iio.imwrite(tmp_path / "photo.png", image)

    def build(hooks: str = "[]", **changes: object) -> Fit:
        path = tmp_path / "scene.yaml"
        path.write_text(
            "dataset: {type: image, path: photo.png}\n"
            "field: {encoding: identity, activation: siren, width: 16, depth: 2}\n"
            f"training: {{batch_size: full, tile: 40, lr: 1.0e-3, precision: float32, hooks: {hooks}}}\n"
        )
        config = read_scene(path, {f"training.{key}": value for key, value in changes.items()})
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
        return build_fit(config, build_dataset(config, context), context)[0]

    return build


def jacobian(fit: Fit, indices: Tensor) -> Tensor:
    """d(sum over channels / sqrt(c)) / d(parameters) at pixels, (n, q), one back-propagation each."""
    points = fit.dataset.batch(indices, fit.context.generator).items.positions
    rows = []
    for point in points:
        gradients = torch.autograd.grad(fit.field.values(point[None]).sum() / 3**0.5, fit.parameters)
        rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows)


def gradient(fit: Fit) -> Tensor:
    """Of one step whose optimiser does nothing."""
    fit.optimizer.step = lambda *_: None
    training_step(fit, 0)
    return torch.cat([p.grad.flatten() for p in fit.parameters])


def cotangent_of(fit: Fit) -> tuple[Tensor, Tensor]:
    """All pixels' values (n, c), with graph, and dL/d(values)."""
    batch = fit.dataset.batch(torch.arange(fit.dataset.n_items), fit.context.generator)
    values = fit.field.values(batch.items.positions)
    return values, 2.0 * (values - batch.targets).detach() / values.numel()


def matrix_s(kernel: Tensor, e: int) -> Tensor:
    """The adam form written out: the e largest eigenvalues of S K are the next one."""
    values, vectors = torch.linalg.eigh(kernel.double())
    values, vectors = values.flip(0), vectors.flip(1)
    s = torch.eye(len(kernel), dtype=torch.float64)
    for i in range(e):
        s -= (1 - values[e] / values[i]) * torch.outer(vectors[:, i], vectors[:, i])
    return s.float()


def test_balancing_nothing_is_plain_training_to_the_bit(make: MakeFit):
    plain, hooked = make(), make("[{type: iga, balanced: 0, patch: 4}]")
    for step in range(5):
        training_step(plain, step)
        training_step(hooked, step)
    for one, other in zip(plain.parameters, hooked.parameters, strict=True):
        assert torch.equal(one, other)


def test_groups_of_one_pixel_are_exact_preconditioning_by_the_kernel(make: MakeFit):
    fit = make("[{type: iga, balanced: 5, patch: 1}]")
    j = jacobian(fit, torch.arange(96))
    values, g = cotangent_of(fit)
    expected = torch.autograd.grad(values, fit.parameters, matrix_s(j @ j.T, 5) @ g)
    torch.testing.assert_close(gradient(fit), torch.cat([p.flatten() for p in expected]), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("patch", [4, 5])  # 5 divides neither side: borders take part with what they have
def test_each_place_of_all_patches_is_multiplied_by_s(make: MakeFit, patch: int):
    fit = make(f"[{{type: iga, balanced: 2, patch: {patch}, representative: centre}}]")
    hook = fit.transform
    assert isinstance(hook, ImageGroups)
    down, across = -(-8 // patch), -(-12 // patch)
    j = jacobian(fit, hook.centres)
    s = matrix_s(j @ j.T, 2)
    values, g = cotangent_of(fit)
    grid, adjusted = g.view(8, 12, 3), torch.empty(8, 12, 3)
    for y in range(patch):
        for x in range(patch):
            r = torch.zeros(down * across, 3)
            cells = [(i, a * patch + y, b * patch + x) for i, (a, b) in enumerate(np.ndindex(down, across))]
            cells = [(i, row, column) for i, row, column in cells if row < 8 and column < 12]
            for i, row, column in cells:
                r[i] = grid[row, column]
            for i, row, column in cells:
                adjusted[row, column] = (s @ r)[i]
    expected = torch.autograd.grad(values, fit.parameters, adjusted.view(-1, 3))
    torch.testing.assert_close(gradient(fit), torch.cat([p.flatten() for p in expected]), rtol=2e-3, atol=1e-6)


def test_the_tile_changes_nothing_but_rounding(make: MakeFit):
    hooks = "[{type: iga, balanced: 2, patch: 5}]"
    torch.testing.assert_close(gradient(make(hooks, tile=1)), gradient(make(hooks, tile=96)), rtol=1e-4, atol=1e-7)


def patches_of_image(side: int) -> Tensor:
    """The patch of each pixel of the image, row by row, (96,)."""
    y, x = np.divmod(np.arange(96), 12)
    return torch.from_numpy((y // side) * -(-12 // side) + x // side)


def test_centres_lie_one_in_each_patch_in_order(make: MakeFit):
    hook = make("[{type: iga, balanced: 2, patch: 5}]").transform
    assert isinstance(hook, ImageGroups)
    assert patches_of_image(5)[hook.centres].tolist() == list(range(6))
    assert hook.centres.tolist()[:3] == [2 * 12 + 2, 2 * 12 + 7, 2 * 12 + 10]


@pytest.mark.parametrize("patch", [4, 5])
@pytest.mark.parametrize("which", ["previous", "residual"])
def test_the_representative_is_where_a_patch_is_most_wrong(make: MakeFit, which: str, patch: int):
    fit = make(f"[{{type: iga, balanced: 2, patch: {patch}, representative: {which}}}]")
    hook, group = fit.transform, patches_of_image(patch)
    assert isinstance(hook, ImageGroups)
    g = cotangent_of(fit)[1]
    training_step(fit, 0)
    wrong = g.abs().sum(dim=-1) if which == "previous" else (cotangent_of(fit)[1]).abs().sum(dim=-1)
    chosen = hook.representatives(fit.dataset.batch(torch.arange(96), fit.context.generator))
    for number in range(hook.n_groups):
        mine = torch.nonzero(group == number).flatten()
        assert chosen[number] == mine[wrong[mine].argmax()]


def test_of_a_patch_that_a_step_did_not_see_the_representative_stays(make: MakeFit):
    fit = make("[{type: iga, balanced: 2, patch: 4}]", batch_size=5)
    hook, group, seen = fit.transform, patches_of_image(4), set()
    assert isinstance(hook, ImageGroups)
    for step in range(3):
        before = hook.worst.clone()
        training_step(fit, step)
        indices = hook._seen
        assert indices is not None
        for number in range(hook.n_groups):
            mine = indices[group[indices] == number]
            assert hook.worst[number] in mine if len(mine) else hook.worst[number] == before[number]
            seen |= {number} if len(mine) else set()
    assert len(seen) > 1


@pytest.mark.parametrize("loss", ["mse", "l1", "smooth_l1"])
def test_the_most_wrong_pixels_of_the_step_before_are_so_whatever_the_loss(make: MakeFit, loss: str):
    fit = make("[{type: iga, balanced: 2, patch: 4}]", loss=loss)
    hook = fit.transform
    assert isinstance(hook, ImageGroups)
    batch = fit.dataset.batch(torch.arange(96), fit.context.generator)
    wrong = (fit.field.values(batch.items.positions) - batch.targets).abs().sum(dim=1).detach().view(8, 12)
    training_step(fit, 0)
    worst = wrong.view(2, 4, 3, 4).amax(dim=(1, 3)).flatten()
    assert torch.equal(wrong.flatten()[hook.worst], worst)


def test_a_field_that_has_run_over_is_said_as_training_that_failed(make: MakeFit):
    fit = make("[{type: iga, balanced: 2, patch: 4}]")
    with torch.no_grad():
        fit.parameters[0].fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"iga: the kernel holds .* not finite.*Lower training\.lr"):
        training_step(fit, 0)


def test_a_pixel_that_comes_twice_takes_the_place_of_no_other(make: MakeFit):
    """As many rows as whole blocks would have are not whole blocks."""
    fit = make("[{type: iga, balanced: 2, patch: 4, representative: centre}]")
    hook = fit.transform
    assert isinstance(hook, ImageGroups)
    indices = torch.tensor([0, 0, 8, 48, 52, 56])  # the first places of six patches; one twice, one not at all
    batch = fit.dataset.batch(indices, fit.context.generator)
    hook.prepare(0, fit.field, batch)
    assert hook._rows is not None
    g = torch.randn(6, 3)
    out = hook.adjust(
        g, batch, fit.renderer.render(fit.field, batch.items, background=None, generator=None), slice(0, len(g))
    )
    assert out.shape == g.shape
    assert torch.equal(out[0], out[1]), "the same pixel"


def test_the_sgd_form_lifts_every_balanced_eigenvalue_to_the_largest():
    torch.manual_seed(0)
    a = torch.randn(12, 12)
    kernel = a @ a.T
    s = balance(kernel, 4, "sgd").times(torch.eye(12)[None])[0]
    lifted = torch.linalg.eigvals(s @ kernel).real.sort(descending=True).values
    largest = torch.linalg.eigvalsh(kernel)[-1]
    torch.testing.assert_close(lifted[:4], largest.expand(4), rtol=1e-3, atol=1e-3)


def test_eigenvalues_of_rounding_are_left_alone():
    x = torch.randn(20, 3)
    vectors, change = balance(x @ x.T, 8, "adam")  # of rank 3
    assert vectors.shape == (20, 2)
    assert (change <= 0).all()
    assert (change >= -1).all()


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(make: MakeFit, tmp_path: Path):
    make()
    scene = tmp_path / "scene.yaml"
    hooks = [{"type": "iga", "balanced": 3, "patch": 5, "refresh": 4}]
    whole = fieldengine.train(scene, {"training.hooks": hooks, "training.steps": 7}, out=tmp_path / "whole")
    part = {"training.hooks": hooks, "training.steps": 7, "training.max_seconds": 1e-9}
    fieldengine.train(scene, part, out=tmp_path / "part")
    again = fieldengine.train(scene, {"training.hooks": hooks, "training.steps": 7}, out=tmp_path / "part", resume=True)
    for one, other in zip(whole.field.parameters(), again.field.parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_goes_with_batches_that_lack_pixels(make: MakeFit):
    fit = make("[{type: iga, balanced: 2, patch: 4}]", batch_size=50)
    for step in range(3):
        assert np.isfinite(float(training_step(fit, step).loss))
    for pixels in ([0], [0, 4], [0, 4, 8, 48, 52, 56, 1]):  # of 6 patches the first places alone, and one more
        batch = fit.dataset.batch(torch.tensor(pixels), fit.context.generator)
        backpropagate(fit, batch, 3, len(batch), VisitedPlaces(fit))


def test_many_groups_are_said_to_take_long(make: MakeFit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(balancing, "MANY", 5)
    make()
    said = "warning: iga: more than 5 groups make a kernel of 25 numbers or more"
    for number, (data, times) in enumerate(
        (
            ({}, 1),  # six patches
            ({"dataset.mask": {"random": 0.1}}, 0),  # five groups and some pixels
            ({"dataset.mask": {"random": 0.1}, "training.hooks.0.patch": 3}, 1),
        )
    ):
        hooks = {"training.hooks": [{"type": "iga", "balanced": 2, "patch": 4}], "training.steps": 2}
        fieldengine.train(tmp_path / "scene.yaml", {**hooks, **data}, out=tmp_path / f"run{number}")
        assert (tmp_path / f"run{number}" / "log.txt").read_text().count(said) == times


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balanced": 6, "patch": 4}, "needs more than 6 patches; an image of 12x8 pixels has 6 of 4x4"),
        ({"patch": 13}, "patch 13 is larger than the image, 12x8"),
        ({"balanced": 1, "patch": 5, "representative": "group_sum"}, "5 does not divide 12x8"),
    ],
)
def test_groups_that_cannot_be_are_refused_before_training(make: MakeFit, options: dict[str, object], message: str):
    text = ", ".join(f"{key}: {value}" for key, value in {"type": "iga", **options}.items())
    with pytest.raises(FieldEngineError, match=message):
        make(f"[{{{text}}}]")


def test_the_heaviest_sample_of_each_ray_stands_for_it():
    from fieldengine.types import Rendered, Samples

    t = torch.arange(6.0)
    samples = Samples(t, t + 1, torch.tensor([0, 0, 0, 2, 2, 3]), 4)
    weights = torch.tensor([0.1, 0.5, 0.5, 0.2, 0.3, 0.0])
    assert heaviest_samples(Rendered(torch.zeros(4, 3), samples=samples, weights=weights), 4).tolist() == [1, -1, 4, -1]


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_a_place_on_the_curve_is_the_bits_of_all_axes_in_turn(d: int):
    points = torch.rand(200, d, generator=torch.Generator().manual_seed(0)) * 2.2 - 1.1  # some beyond the box
    bits = min(20, 60 // d)
    found = z_order(points).tolist()
    for place, point in zip(found, points.double().tolist(), strict=True):
        cells = [min(max(int((x + 1) / 2 * 2**bits), 0), 2**bits - 1) for x in point]
        assert place == sum(((cells[axis] >> bit) & 1) << (bit * d + axis) for bit in range(bits) for axis in range(d))


def test_neighbours_on_the_curve_are_neighbours_in_space():
    points = torch.rand(4096, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    runs = points[z_order(points).argsort()].view(64, 64, 3)
    spread = (runs - runs.mean(dim=1, keepdim=True)).norm(dim=-1).mean()
    assert spread < 0.45  # a cube of a 64th of the volume has 0.24, points drawn at random 0.96


@pytest.mark.parametrize("which", ["centre", "residual"])
def test_each_place_of_all_groups_of_neighbouring_rays_is_multiplied_by_s(tmp_path: Path, which: str):
    (tmp_path / "scene.yaml").write_text(
        "dataset: {type: procedural, views: 2, size: 16}\n"
        "field: {encoding: {type: frequency, n_frequencies: 3}, activation: siren, width: 16}\n"
        f"training: {{batch_size: 200, hooks: [{{type: iga, balanced: 2, patch: 2, representative: {which}}}]}}\n"
    )
    scene = read_scene(tmp_path / "scene.yaml", [])
    context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
    fit, trained = build_fit(scene, build_dataset(scene, context), context)
    hook, field = fit.transform, trained.field
    assert hook is not None
    batch = fit.dataset.batch(torch.arange(60, 259), context.generator)
    hook.prepare(0, field, batch)
    rendered = fit.renderer.render(field, batch.items, background=batch.background, generator=context.generator)
    g = torch.randn(199, 3, generator=context.generator)
    out = hook.adjust(g, batch, rendered, slice(0, len(g)))
    wrong = (rendered.values - batch.targets).detach().abs().sum(dim=1)
    heaviest = heaviest_samples(rendered, 199)
    seen = [ray for ray in range(199) if heaviest[ray] >= 0]
    middles = rendered.samples.midpoints(batch.items)[heaviest[seen]].detach()
    order = z_order(fit.dataset.domain.aabb.to_unit(middles)).argsort().tolist()
    groups = [[seen[i] for i in order[k : k + 4]] for k in range(0, len(seen) // 4 * 4, 4)]
    worst = [max(group, key=lambda ray: float(wrong[ray])) for group in groups]
    chosen = [group[2] for group in groups] if which == "centre" else worst
    samples = heaviest[chosen]
    lengths = (rendered.samples.t_ends - rendered.samples.t_starts)[samples]
    places = [rendered.samples.midpoints(batch.items)[samples], batch.items.viewdirs[chosen], lengths[:, None]]
    values = look_of(field)(torch.cat(places, dim=1).detach()).sum(dim=-1) / 2
    parameters = [p for p in field.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(v, parameters, retain_graph=True, materialize_grads=True) for v in values]
    jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    eigenvalues, vectors = torch.linalg.eigh((jacobian @ jacobian.T).double())
    s = torch.eye(len(groups), dtype=torch.float64)
    for i in (-1, -2):
        s -= (1 - eigenvalues[-3] / eigenvalues[i]) * torch.outer(vectors[:, i], vectors[:, i])
    wanted = g.clone()
    for place in range(4):
        rays = [group[place] for group in groups]
        wanted[rays] = (s @ g[rays].double()).float()
    assert len(groups) > 10
    assert torch.allclose(out, wanted, atol=1e-3)
    assert not torch.allclose(out, g, atol=1e-2)
    untouched = sorted(set(range(199)) - {ray for group in groups for ray in group})
    assert untouched
    assert torch.equal(out[untouched], g[untouched])


@pytest.mark.usefixtures("quick_scores")
@pytest.mark.parametrize("kind", ["mesh", "rays"])
def test_points_in_space_and_rays_are_adjusted_too(tmp_path: Path, kind: str):
    import trimesh

    trimesh.creation.box().export(tmp_path / "box.ply")
    data = (
        "{type: mesh, path: box.ply, n_samples: 2000}" if kind == "mesh" else "{type: procedural, views: 2, size: 16}"
    )
    scene = tmp_path / "scene.yaml"
    scene.write_text(
        f"dataset: {data}\nfield: {{encoding: identity, activation: siren, width: 16}}\n"
        "training: {steps: 3, batch_size: 130, hooks: [{type: iga, balanced: 4, patch: 3}]}\nevaluation: {every: 0}\n"
    )
    run = fieldengine.train(scene, out=tmp_path / "run")
    assert run.status == "done"
    assert all(bool(p.isfinite().all()) for p in run.field.parameters() if isinstance(p, nn.Parameter))
    few = {"training.batch_size": 9, "training.hooks.0.balanced": 20}
    if kind == "mesh":
        with pytest.raises(FieldEngineError, match="needs more groups than"):
            fieldengine.train(scene, few, out=tmp_path / "other")
    else:  # how many rays a step affords changes, so it is said and the training goes on
        fieldengine.train(scene, few, out=tmp_path / "other")
        said = "iga: tiles with too few rays for 21 groups of 9 are left as they are"
        assert (tmp_path / "other" / "log.txt").read_text().count(said) == 1


def test_a_slow_way_to_the_kernel_is_said_once_in_the_log(tmp_path: Path):
    iio.imwrite(tmp_path / "p.png", np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8))
    (tmp_path / "scene.yaml").write_text(
        "dataset: {type: image, path: p.png}\n"
        "field: {encoding: identity, activation: siren, width: 4, depth: 2, parameterization: weight_norm}\n"
        "training: {steps: 3, batch_size: full, hooks: [{type: iga, balanced: 2, patch: 4}]}\nevaluation: {every: 0}\n"
    )
    fieldengine.train(tmp_path / "scene.yaml", out=tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("warning: no rule for") == len({line[20:] for line in log.splitlines() if "no rule for" in line})
    assert "warning: no rule for" in log
