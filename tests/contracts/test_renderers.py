"""What every installed renderer promises: values of items, gradients to the field, chance from the generator alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fieldengine
from fieldengine.config.document import Origin, from_python
from fieldengine.config.parse import Reading, parse_plugin
from fieldengine.errors import FieldEngineError
from fieldengine.plugins.registry import Registry
from fieldengine.types import Aabb, Items, Points, Rays, Rendered

REGISTRY = Registry()
NAMES = REGISTRY.names("renderers")
BOX = Aabb.of([-1.0] * 3, [1.0] * 3)
WAVES = {"type": "siren", "omega": 2.0, "first_omega": 2.0}
PARTS = {"encoding": "identity", "activation": WAVES, "width": 8, "depth": 1}
FIELDS: dict[str, tuple[dict[str, Any], int]] = {
    "signal": ({"type": "signal", **PARTS}, 3),
    "radiance": ({"type": "radiance", "direction_encoding": "identity", **PARTS}, 3),
    "surface": ({"type": "surface", **PARTS}, 1),
}
N = 24
STRANGER = """
    from dataclasses import dataclass

    import torch
    from torch import nn

    from fieldengine.api import Rendered, Points


    @dataclass(frozen=True)
    class Doubled:
        '''Twice the values at points.'''

        def build(self):
            return DoubledRenderer()


    class DoubledRenderer(nn.Module):
        def check(self, field, items):
            if items is not Points:
                raise ValueError("doubled takes points")

        def render(self, field, items, *, background, generator):
            return self.of(field.values(items.positions))

        def of(self, values):
            return Rendered(2 * values)

        def max_batch(self, wanted):
            return wanted

        def update(self, field, step, generator):
            pass


    def changed(**methods):
        @dataclass(frozen=True)
        class Changed:
            def build(self):
                found = DoubledRenderer()
                for name, method in methods.items():
                    setattr(found, name, method)
                return found

        return Changed


    Thin = changed(of=lambda values: Rendered(values[:, :1]))
    Halved = changed(of=lambda values: Rendered(values[::2]))
    Scored = changed(of=lambda values: Rendered(values, losses={"odd": values.mean()}))
    Taken = changed(of=lambda values: Rendered(values, losses={"loss": values[:, 0]}))
    Fails = changed(of=lambda values: values["odd"])
    Strict = changed(check=lambda field, items: 1 / 0)


    @dataclass(frozen=True)
    class Bare:
        def build(self):
            return nn.Identity()


    @dataclass(frozen=True)
    class Dreams:
        def build(self, *, aabb, scene):
            return DoubledRenderer()


    @dataclass(frozen=True)
    class NoModule:
        def build(self):
            return object()
"""
PHOTO = "dataset: {{type: image, path: {photo}}}\nfield: {{encoding: identity, activation: siren, width: 8}}\n"


def parsed(kind: str, block: Any) -> Any:
    return parse_plugin(kind, from_python(block, Origin(base=Path())), kind, Reading(REGISTRY))[0]


def renderer_of(name: str) -> Any:
    return parsed("renderers", {"type": name}).build(aabb=BOX)


def field_of(name: str, seed: int = 0) -> nn.Module:
    block, out_dim = FIELDS[name]
    torch.manual_seed(seed)
    return parsed("fields", block).build(in_dim=3, out_dim=out_dim, aabb=BOX, n_cameras=0)


def items_of(kind: type[Items]) -> Any:
    generator = torch.Generator().manual_seed(0)
    positions = 2 * torch.rand(N, 3, generator=generator) - 1
    if kind is Points:
        return Points(positions)
    origins = 3 * torch.nn.functional.normalize(torch.randn(N, 3, generator=generator), dim=-1)
    return Rays(origins, torch.nn.functional.normalize(0.5 * positions - origins, dim=-1))


def accepted(name: str) -> list[tuple[str, type[Items]]]:
    found = []
    for field in FIELDS:
        for kind in (Points, Rays):
            with suppress(ValueError):
                renderer_of(name).check(field_of(field), kind)
                found.append((field, kind))
    return found


CASES = [(name, field, kind) for name in NAMES for field, kind in accepted(name)]


def rendered(name: str, field: nn.Module, kind: type[Items], seed: int | None = None, renderer: Any = None) -> Rendered:
    items, generator = items_of(kind), None if seed is None else torch.Generator().manual_seed(seed)
    background = torch.full((N, 3), 0.5) if kind is Rays else None
    return (renderer or renderer_of(name)).render(field, items, background=background, generator=generator)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]} of {case[1]} at {case[2].__name__.lower()}")
def case(request: pytest.FixtureRequest) -> tuple[str, str, type[Items]]:
    return request.param


def test_each_renderer_takes_some_field():
    assert {name for name, _, _ in CASES} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_does_not_take_is_refused_in_words(name: str):
    for field in FIELDS:
        for kind in (Points, Rays):
            if (name, field, kind) not in CASES:
                with pytest.raises(ValueError, match=rf"the {name} renderer (takes|needs) "):
                    renderer_of(name).check(field_of(field), kind)


def test_it_gives_a_row_of_finite_float32_values_per_item(case: tuple[str, str, type[Items]]):
    name, field, kind = case
    found = rendered(name, field_of(field), kind, seed=1)
    assert found.values.shape == (N, FIELDS[field][1])
    assert found.values.dtype == torch.float32
    assert bool(found.values.isfinite().all())
    for part in (found.opacity, found.depth):
        assert part is None or part.shape == (N,)
    for loss in found.losses.values():
        assert loss.shape == (N,)


def test_gradient_reaches_every_parameter_of_the_field(case: tuple[str, str, type[Items]]):
    name, field, kind = case
    network = field_of(field)
    rendered(name, network, kind, seed=1).values.square().sum().backward()
    assert not [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_values_of_an_item_do_not_depend_on_what_is_rendered_beside_it(case: tuple[str, str, type[Items]]):
    name, field, kind = case
    network, items, renderer = field_of(field), items_of(kind), renderer_of(name)
    background = torch.full((N, 3), 0.5) if kind is Rays else None
    whole = rendered(name, network, kind).values
    parts = [
        renderer.render(
            network, items[rows], background=None if background is None else background[rows], generator=None
        ).values
        for rows in torch.arange(N).split(7)
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-6)


def test_the_generator_alone_decides_what_chance_does(case: tuple[str, str, type[Items]]):
    name, field, kind = case
    network = field_of(field)
    for seed in (None, 4):
        first, again = (rendered(name, network, kind, seed).values for _ in range(2))
        assert torch.equal(first, again)


def test_another_field_shows_something_else(case: tuple[str, str, type[Items]]):
    name, field, kind = case
    one, other = (rendered(name, field_of(field, seed), kind).values for seed in (0, 1))
    assert float((one - other).detach().abs().max()) > 1e-4


def test_its_state_is_all_of_it(case: tuple[str, str, type[Items]]):
    name, field, kind = case
    network, renderer, other = field_of(field), renderer_of(name), renderer_of(name)
    for step in range(3):
        renderer.update(network, step, torch.Generator().manual_seed(step))
    other.load_state_dict(copy.deepcopy(renderer.state_dict()))
    ours, theirs = (rendered(name, network, kind, 4, one).values for one in (renderer, other))
    assert torch.equal(ours, theirs)
    assert 1 <= renderer.max_batch(100) <= 100


def test_a_stranger_s_renderer_trains_like_any_other(
    install: Any, scene: Callable[[str], Path], photo: Path, tmp_path: Path
):
    install(STRANGER, {"renderers/doubled": "Doubled"})
    text = PHOTO.format(photo=photo) + "renderer: doubled\ntraining: {steps: 3}\n"
    run = fieldengine.train(scene(text), out=tmp_path / "run")
    direct: Tensor = run.field.values(torch.zeros(1, 2))  # pyright: ignore
    shown = run.trained.renderer.render(run.field, Points(torch.zeros(1, 2)), background=None, generator=None)
    torch.testing.assert_close(shown.values, 2 * direct)


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        ("Thin", r"values of shape \(4, 1\) for 4 items; the data has \(4, 3\)"),
        ("Halved", r"expected values \(4, c\) for 4 items, found float32 of shape \(2, 3\)"),
        (
            "Scored",
            r'of stranger 1\.0: expected the loss "odd" to have shape \(4,\), one per item; found float32',
        ),
        ("Taken", r'of stranger 1\.0: a loss of the renderer is called "loss"'),
        ("Fails", r"of stranger 1\.0: failed in .* with .*Error: .* \(.*stranger_of_a_seam\.py:\d+\)"),
        ("Strict", r"of stranger 1\.0: failed in .* with ZeroDivisionError: .*stranger_of_a_seam\.py:\d+"),
        ("Bare", r"of stranger 1\.0: Identity has no check and no render and no max_batch and no update\(\)"),
        ("Dreams", r"of stranger 1\.0: .*Dreams\.build asks for scene; the engine offers aabb"),
        ("NoModule", r"of stranger 1\.0: expected build to return a renderer, found object; it must be an nn\.Module"),
    ],
)
def test_a_broken_renderer_is_named_before_training_with_what_was_expected(
    cls: str, said: str, install: Any, scene: Callable[[str], Path], photo: Path, tmp_path: Path
):
    install(STRANGER, {"renderers/odd": cls})
    with pytest.raises(FieldEngineError, match=said) as caught:
        fieldengine.train(scene(PHOTO.format(photo=photo) + "renderer: odd\n"), out=tmp_path / "run")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()
