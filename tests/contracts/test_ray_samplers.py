"""What every installed ray sampler promises: packed samples inside the box, chance from the generator, a state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fieldengine
from fieldengine.config.document import Origin, from_python
from fieldengine.config.parse import Reading, parse_plugin
from fieldengine.errors import FieldEngineError
from fieldengine.kinds.ray_sampler import check_samples
from fieldengine.plugins.registry import Registry
from fieldengine.types import Aabb, Rays, Samples

REGISTRY = Registry()
NAMES = REGISTRY.names("ray_samplers")
BOX = Aabb.of([-1.0, -2.0, 0.0], [1.0, 1.0, 1.5])
STRANGER = """
    from dataclasses import dataclass

    import torch
    from torch import nn

    from fieldengine.api import Samples
    from fieldengine.ops import intersect_aabb


    @dataclass(frozen=True)
    class Whole:
        '''One interval a ray.'''

        def build(self, *, aabb):
            return WholeSampler(aabb)


    class WholeSampler(nn.Module):
        def __init__(self, aabb):
            super().__init__()
            self.aabb = aabb

        def sample(self, rays, query, generator):
            near, far = intersect_aabb(rays, self.aabb)
            hit = (far > near).nonzero()[:, 0]
            return self.packed(near[hit], far[hit], hit, len(rays))

        def packed(self, near, far, hit, n):
            return Samples(near, far, hit, n)

        def losses(self, samples, weights):
            return {}

        def max_batch(self, wanted):
            return wanted

        def update(self, query, step, generator):
            pass


    @dataclass(frozen=True)
    class Backwards(Whole):
        def build(self, *, aabb):
            found = WholeSampler(aabb)
            found.packed = lambda near, far, hit, n: Samples(far, near, hit, n)
            return found


    @dataclass(frozen=True)
    class Unsorted(Whole):
        def build(self, *, aabb):
            found = WholeSampler(aabb)
            found.packed = lambda near, far, hit, n: Samples(near, far, hit.flip(0), n)
            return found


    @dataclass(frozen=True)
    class Short(Whole):
        def build(self, *, aabb):
            found = WholeSampler(aabb)
            found.packed = lambda near, far, hit, n: Samples(near, far, hit[:1], n)
            return found


    @dataclass(frozen=True)
    class Pair(Whole):
        def build(self, *, aabb):
            found = WholeSampler(aabb)
            found.packed = lambda near, far, hit, n: (near, far)
            return found


    @dataclass(frozen=True)
    class Fails(Whole):
        def build(self, *, aabb):
            found = WholeSampler(aabb)
            found.packed = lambda near, far, hit, n: near.missing
            return found


    @dataclass(frozen=True)
    class Dreams(Whole):
        def build(self, *, aabb, context):
            return WholeSampler(aabb)


    @dataclass(frozen=True)
    class Bare(Whole):
        def build(self, *, aabb):
            return nn.Identity()
"""
SCENE = """
dataset: {type: procedural, views: 2, test_views: 1, size: 12}
field: {encoding: identity, direction_encoding: identity, activation: siren, width: 8, depth: 1}
renderer: {sampler: {type: NAME}}
training: {steps: 2, batch_size: 60}
"""


def built(name: str, registry: Registry = REGISTRY) -> Any:
    node = from_python({"type": name}, Origin(base=Path()))
    return parse_plugin("ray_samplers", node, "sampler", Reading(registry))[0].build(aabb=BOX)


def rays(n: int = 200, seed: int = 0) -> Rays:
    """From all around, some past the box."""
    generator = torch.Generator().manual_seed(seed)
    origins = 4 * torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    targets = 2.5 * (torch.rand(n, 3, generator=generator) - 0.5)
    return Rays(origins, torch.nn.functional.normalize(targets - origins, dim=-1))


def ball(x: Tensor) -> Tensor:
    """A dense ball in an empty box."""
    return 40.0 * (x.norm(dim=-1) < 0.6).float()


def settled(name: str) -> Any:
    """A sampler that has looked at the ball a few times."""
    sampler = built(name)
    for step in range(20):
        sampler.update(ball, step, torch.Generator().manual_seed(step))
    return sampler


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("jittered", [False, True])
def test_its_samples_are_packed_and_lie_in_the_box(name: str, jittered: bool):
    for sampler in (built(name), settled(name)):
        samples = sampler.sample(rays(), ball, generator() if jittered else None)
        check_samples(samples, 200)
        assert len(samples)
        unit = BOX.to_unit(samples.midpoints(rays()))
        assert float(unit.abs().max()) <= 1.0 + 1e-5
        assert bool((samples.t_starts >= 0).all())


def test_a_ray_that_misses_has_no_samples(name: str):
    away = Rays(torch.tensor([[5.0, 5.0, 5.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    samples = built(name).sample(away, ball, None)
    assert (len(samples), samples.n_rays) == (0, 1)


def test_what_a_ray_meets_is_sampled(name: str):
    through = Rays(torch.tensor([[0.0, -4.0, 0.2]]), torch.tensor([[0.0, 1.0, 0.0]]))
    samples = settled(name).sample(through, ball, None)
    inside = ball(samples.midpoints(through)) > 0
    length = float((samples.t_ends - samples.t_starts)[inside].sum())
    assert length == pytest.approx(2 * (0.36 - 0.04) ** 0.5, abs=0.1)


def test_without_a_generator_nothing_changes_and_with_one_it_alone_decides(name: str):
    sampler = settled(name)
    before = copy.deepcopy(sampler.state_dict())

    def starts(random: torch.Generator | None) -> Tensor:
        with torch.no_grad():
            return sampler.sample(rays(), ball, random).t_starts

    assert torch.equal(starts(None), starts(None))
    assert torch.equal(starts(generator()), starts(generator()))
    assert all(torch.equal(value, before[key]) for key, value in sampler.state_dict().items())


def test_its_state_is_all_of_it(name: str):
    sampler, other = settled(name), built(name)
    other.load_state_dict(copy.deepcopy(sampler.state_dict()))
    for random in (None, generator()):
        ours, theirs = (one.sample(rays(), ball, random and generator()) for one in (sampler, other))
        assert torch.equal(ours.t_starts, theirs.t_starts)
        assert torch.equal(ours.ray_indices, theirs.ray_indices)
    for one in (sampler, other):
        one.update(ball, 20, generator(9))
    for key, value in sampler.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


def test_it_affords_no_more_than_it_is_asked_for_and_at_least_one_ray(name: str):
    sampler = settled(name)
    for wanted in (1, 100, 1 << 20):
        assert 1 <= sampler.max_batch(wanted) <= wanted


def test_it_is_a_module_and_its_losses_have_names_and_a_number_per_ray(name: str):
    sampler = settled(name)
    assert isinstance(sampler, nn.Module)
    samples: Samples = sampler.sample(rays(), ball, generator())
    for loss, values in sampler.losses(samples, torch.rand(len(samples))).items():
        assert isinstance(loss, str)
        assert values.shape == (200,)


def test_it_trains_a_radiance_field(name: str, scene: Callable[[str], Path], tmp_path: Path):
    run = fieldengine.train(scene(SCENE.replace("NAME", name)), out=tmp_path / "run")
    assert run.metrics["psnr"] > 0


def test_a_stranger_s_sampler_trains_like_any_other(install: Any, scene: Callable[[str], Path], tmp_path: Path):
    install(STRANGER, {"ray_samplers/whole": "Whole"})
    check_samples(built("whole", Registry()).sample(rays(), ball, None), 200)
    run = fieldengine.train(scene(SCENE.replace("NAME", "whole")), out=tmp_path / "run")
    assert run.metrics["psnr"] > 0


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        ("Backwards", "expected samples that end after they start; some end before"),
        ("Unsorted", "expected ray_indices in ascending order from 0 to 2; found others"),
        ("Short", r"expected t_starts, t_ends and ray_indices of one length, each \(m,\); found t_starts \(2,\)"),
        ("Pair", r"expected sample\(rays, query, generator\) to return Samples, found tuple"),
        ("Fails", r"failed in Fails\.build\S* with AttributeError: .*missing.* \(.*stranger_of_a_seam\.py:\d+\)"),
        ("Dreams", "Dreams.build asks for context; the engine offers aabb"),
        ("Bare", r"Identity has no sample and no losses and no max_batch and no update\(\), which a ray sampler needs"),
    ],
)
def test_a_broken_sampler_is_named_before_training_with_what_was_expected(
    cls: str, said: str, install: Any, scene: Callable[[str], Path], tmp_path: Path
):
    install(STRANGER, {"ray_samplers/odd": cls})
    with pytest.raises(FieldEngineError, match=rf'ray_samplers plugin "odd" of stranger 1\.0: .*{said}') as caught:
        fieldengine.train(scene(SCENE.replace("NAME", "odd")), out=tmp_path / "run")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()
