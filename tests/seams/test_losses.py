"""Renderers and ray samplers have losses of their own: by name, per item, the same in one tile and in many."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fieldengine
from fieldengine.config.scene import read_scene
from fieldengine.errors import PluginError
from fieldengine.runs.build import build_dataset, build_fit
from fieldengine.training.fit import Fit
from fieldengine.training.loop import Progress, restore, state_of
from fieldengine.training.oracle import Residuals
from fieldengine.training.step import training_step
from fieldengine.types import RunContext

PROPOSAL = """
    from dataclasses import dataclass

    import torch
    from torch import nn

    from fieldengine.api import Samples, Stage
    from fieldengine.fields import ToUnit
    from fieldengine.ops import intersect_aabb, sample_pdf, weights_from_density


    @dataclass(frozen=True)
    class TwoStages:
        '''A small network proposes where the second stage looks (Barron et al. 2022, mip-NeRF 360, section 3).'''

        coarse: int = 12
        fine: int = 8
        weight: float = 0.5
        '''of the interlevel loss'''

        def build(self, *, aabb):
            return TwoStageSampler(self, aabb)


    class TwoStageSampler(nn.Module):
        def __init__(self, options, aabb):
            super().__init__()
            self.options, self.aabb, self.to_unit = options, aabb, ToUnit(aabb)
            self.network = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1), nn.Softplus())
            nn.init.constant_(self.network[2].bias, -4.0)  # proposes too little, so that there is a loss

        def sample(self, rays, query, generator):
            near, far = intersect_aabb(rays, self.aabb)
            hit = (far > near).nonzero()[:, 0]
            near, far = near[hit, None], far[hit, None]
            borders = near + (far - near) * torch.linspace(0, 1, self.options.coarse + 1)
            coarse = packed(borders, hit, len(rays))
            density = self.network(self.to_unit(coarse.midpoints(rays)))[:, 0]
            weights = weights_from_density(coarse, density)
            jitter = None
            if generator is not None:
                jitter = torch.rand(len(hit), self.options.fine + 1, generator=generator)
            shares = weights.detach().view(len(hit), -1) + 0.01
            fine = packed(sample_pdf(borders, shares, self.options.fine + 1, jitter), hit, len(rays))
            return Samples(fine.t_starts, fine.t_ends, fine.ray_indices, len(rays), (Stage(coarse, weights),))

        def losses(self, samples, weights):
            (stage,) = samples.stages
            t0, t1 = stage.samples.t_starts, stage.samples.t_ends
            n = self.options.coarse
            place = torch.full((samples.n_rays,), -1)
            place[stage.samples.ray_indices[::n]] = torch.arange(len(t0) // n)
            row = place[samples.ray_indices]
            begins, ends = (t.view(-1, n)[row] for t in (t0, t1))
            overlap = (ends > samples.t_starts[:, None]) & (begins < samples.t_ends[:, None])
            bound = (stage.weights.view(-1, n)[row] * overlap).sum(-1)
            excess = (weights.detach() - bound).clamp(min=0).square() / (weights.detach() + 1e-5)
            each = torch.zeros(samples.n_rays).index_add(0, samples.ray_indices, excess)
            return {"interlevel": self.options.weight * each}

        def max_batch(self, wanted):
            return wanted

        def update(self, query, step, generator):
            pass


    def packed(borders, hit, n_rays):
        count = borders.shape[1] - 1
        return Samples(borders[:, :-1].flatten(), borders[:, 1:].flatten(), hit.repeat_interleave(count), n_rays)
"""
EIKONAL = """
    from dataclasses import dataclass

    import torch
    from torch import nn

    from fieldengine.api import Aabb, Rays, RaySamplerOptions, Rendered, SurfaceField
    from fieldengine.fields import MLP, ToUnit
    from fieldengine.ops import composite, weights_from_density


    @dataclass(frozen=True)
    class Solid:
        '''A signed distance and a colour.'''

        width: int = 16

        def build(self, *, aabb):
            return SolidNetwork(self, aabb)


    class SolidNetwork(nn.Module):
        def __init__(self, options, aabb):
            super().__init__()
            self.to_unit = ToUnit(aabb)
            hidden = [nn.Linear(3, options.width), nn.Softplus(beta=20), nn.Linear(options.width, 4)]
            self.network = nn.Sequential(*hidden)

        def sdf(self, x):
            h = self.network(self.to_unit(x))
            return h[:, 0] + 0.2, h[:, 1:]

        def rgb(self, features, viewdirs, normals=None):
            return torch.sigmoid(features + (0.0 if normals is None else 0.1 * normals))

        def forward(self, x):
            return self.sdf(x)[0]


    @dataclass(frozen=True)
    class Surfaces:
        '''Density from a signed distance, as VolSDF (Yariv et al. 2021, Eqs. 2 and 3), with an eikonal loss.'''

        sampler: RaySamplerOptions
        weight: float = 0.1
        '''of the eikonal loss'''
        beta: float = 0.1

        def build(self, *, aabb):
            return SurfacesRenderer(self, self.sampler.build(aabb=aabb))


    class SurfacesRenderer(nn.Module):
        def __init__(self, options, sampler):
            super().__init__()
            self.options, self.sampler = options, sampler

        def check(self, field, items):
            if items is not Rays or not isinstance(field, SurfaceField):
                raise ValueError("surfaces are seen along rays")

        def density(self, sdf):
            return (0.5 + 0.5 * torch.sign(-sdf) * (1 - torch.exp(-sdf.abs() / self.options.beta))) / self.options.beta

        def render(self, field, items, *, background, generator):
            samples = self.sampler.sample(items, lambda x: self.density(field.sdf(x)[0]), generator)
            with torch.enable_grad():
                x = samples.midpoints(items).detach().requires_grad_()
                sdf, features = field.sdf(x)
                (normals,) = torch.autograd.grad(sdf.sum(), x, create_graph=True)
            weights = weights_from_density(samples, self.density(sdf))
            rgb = field.rgb(features, items.viewdirs[samples.ray_indices], normals)
            values, opacity, depth = composite(samples, weights, rgb, background)
            if not torch.is_grad_enabled():
                return Rendered(values, opacity, depth, samples, weights)
            off = (normals.norm(dim=-1) - 1).square()
            n = len(items)
            count = torch.bincount(samples.ray_indices, minlength=n).clamp(min=1)
            each = torch.zeros(n).index_add(0, samples.ray_indices, off) / count
            return Rendered(values, opacity, depth, samples, weights, {"eikonal": self.options.weight * each})

        def max_batch(self, wanted):
            return wanted

        def update(self, field, step, generator):
            pass
"""
DATA = "dataset: {type: procedural, views: 3, test_views: 1, size: 12}\n"
FIELD = "field: {encoding: identity, direction_encoding: identity, activation: siren, width: 16, depth: 2}\n"
SCENES = {
    "interlevel": (
        PROPOSAL,
        {"ray_samplers/two_stages": "TwoStages"},
        f"{DATA}{FIELD}renderer: {{sampler: {{type: two_stages}}}}\n",
    ),
    "eikonal": (
        EIKONAL,
        {"fields/solid": "Solid", "renderers/surfaces": "Surfaces"},
        f"{DATA}field: solid\nrenderer: {{type: surfaces, sampler: {{type: stratified, n_samples: 8}}}}\n",
    ),
}
TRAINING = "training: {steps: 8, batch_size: 90, lr: 1.0e-2, tile: 4096, log_every: 1}\n"

Make = Callable[[str, int], Fit]


@pytest.fixture
def written(install: Any, scene: Callable[[str], Path]) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        text, plugins, blocks = SCENES[name]
        install(text, plugins)
        return scene(blocks + TRAINING)

    return write


@pytest.fixture
def make(written: Callable[[str], Path]) -> Make:
    paths: dict[str, Path] = {}

    def build(name: str, tile: int) -> Fit:
        if name not in paths:
            paths[name] = written(name)
        config = read_scene(paths[name])
        context = RunContext(torch.device("cpu"), torch.Generator().manual_seed(1), 1)
        fit, _ = build_fit(config, build_dataset(config, context), context)
        fit.tile = tile
        return fit

    return build


def gradients(fit: Fit) -> Tensor:
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in fit.parameters])


def fixed(fit: Fit) -> None:
    """Samples without jitter, which draws other numbers for other tiles."""
    render = fit.renderer.render

    def still(field: Any, items: Any, *, background: Any, generator: Any) -> Any:
        return render(field, items, background=background, generator=None)

    fit.renderer.render = still  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", SCENES)
def test_many_tiles_give_the_losses_and_gradients_of_one(name: str, make: Make):
    found: list[tuple[Mapping[str, Tensor], Tensor]] = []
    for tile in (4096, 17):
        fit = make(name, tile)
        fixed(fit)
        report = training_step(fit, 0)
        assert set(report.losses) == {name}
        assert float(report.losses[name]) > 0
        found.append((report.losses, gradients(fit)))
    (whole, one), (pieces, many) = found
    torch.testing.assert_close(pieces[name], whole[name], rtol=1e-5, atol=0)
    torch.testing.assert_close(many, one, rtol=1e-4, atol=1e-6 * float(one.abs().max()))


@pytest.mark.parametrize("name", SCENES)
def test_a_step_descends_on_the_sum_of_all_losses(name: str, make: Make):
    fit = make(name, 4096)
    fixed(fit)
    state = fit.context.generator.get_state()
    training_step(fit, 0)
    stepped = gradients(fit)
    again = make(name, 4096)
    fixed(again)
    again.context.generator.set_state(state)
    indices = again.sampler.select(0, 90, Residuals(again))
    batch = again.dataset.batch(indices, again.context.generator)
    rendered = again.renderer.render(again.field, batch.items, background=batch.background, generator=None)
    total = again.loss(rendered.values, batch.targets).mean() + rendered.losses[name].mean()
    total.backward()
    torch.testing.assert_close(stepped, gradients(again), rtol=1e-4, atol=1e-7)


def test_the_loss_of_a_sampler_trains_its_own_network_and_nothing_else_of_the_field(make: Make):
    fit = make("interlevel", 4096)
    network: Any = fit.renderer.sampler.network  # pyright: ignore[reportAttributeAccessIssue]
    training_step(fit, 0)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())
    mine = {id(p) for p in network.parameters()}
    assert mine < {id(p) for p in fit.parameters}


@pytest.mark.parametrize("name", SCENES)
def test_a_resumed_run_has_the_samplers_state_too(name: str, make: Make, tmp_path: Path):
    fit = make(name, 4096)
    training_step(fit, 0)
    state = copy.deepcopy(state_of(fit, Progress(1)))
    training_step(fit, 1)
    again = make(name, 4096)
    restore(again, state, tmp_path)
    training_step(again, 1)
    assert all(torch.equal(a, b) for a, b in zip(fit.parameters, again.parameters, strict=True))


@pytest.mark.parametrize("name", SCENES)
def test_each_loss_is_logged_by_its_name(name: str, written: Callable[[str], Path], tmp_path: Path):
    fieldengine.train(written(name), out=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    logged = [line[name] for line in lines if "loss" in line]
    assert len(logged) == 8
    assert all(value > 0 for value in logged)


def test_a_loss_that_is_not_one_number_per_item_is_refused_before_training(make: Make, tmp_path: Path):
    fit = make("eikonal", 4096)
    render = fit.renderer.render

    def odd(*arguments: Any, **rest: Any) -> Any:
        rendered = render(*arguments, **rest)
        rendered.losses["eikonal"] = rendered.losses["eikonal"].mean()  # pyright: ignore[reportIndexIssue]
        return rendered

    fit.renderer.render = odd  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(
        PluginError, match=r'expected the loss "eikonal" to have shape \(90,\), one per item; found float32'
    ):
        training_step(fit, 0)
