"""What every installed field promises: an offer the renderers know, sound values, and a state that is all of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fieldengine.config.document import Origin, from_python
from fieldengine.config.keys import keys
from fieldengine.config.parse import Reading, parse_plugin
from fieldengine.kinds.field import RadianceField, SignalField, SurfaceField
from fieldengine.plugins.registry import Registry
from fieldengine.types import Aabb

REGISTRY = Registry()
# dimensions in and out, of which each field must accept at least one pair
PAIRS = [(2, 3), (3, 1), (3, 3), (2, 1), (1, 1)]
# waves, so that every answer depends on the place
WAVES = {"type": "siren", "omega": 2.0, "first_omega": 2.0}
SMALL: dict[str, Any] = {"width": 8, "depth": 1, "encoding": "identity", "activation": WAVES}
SHIFT, SCALE = 10.0, 2.5
SMALL_GRID: dict[str, Any] = {"n_levels": 2, "log2_table": 8, "finest": 32}
# keys that keep an encoding small, or that have no default
OF_ENCODINGS: dict[str, dict[str, Any]] = {
    "hash_grid": SMALL_GRID,
    "dense_grid": {"resolution": 8},
    "concat": {"parts": ["identity", "frequency"]},
    "progressive": {"encoding": {"type": "hash_grid", **SMALL_GRID}},
}


def keys_of(name: str) -> set[str]:
    return {key.name for key in keys(REGISTRY.find("fields", name).load())}


def options(name: str, **changes: Any) -> Any:
    block = {"type": name, **{key: value for key, value in SMALL.items() if key in keys_of(name)}, **changes}
    return parse_plugin("fields", from_python(block, Origin(base=Path())), "field", Reading(REGISTRY))[0]


def built(name: str, in_dim: int, out_dim: int, aabb: Aabb | None = None, seed: int = 0, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    box = aabb or Aabb.of([-1.0] * in_dim, [1.0] * in_dim)
    return options(name, **changes).build(in_dim=in_dim, out_dim=out_dim, aabb=box)


def accepted(name: str) -> Iterator[tuple[int, int]]:
    for pair in PAIRS:
        try:
            built(name, *pair)
        except ValueError:
            continue
        yield pair


CASES = [(name, *pair) for name in REGISTRY.names("fields") for pair in accepted(name)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]} {case[1]} to {case[2]}")
def case(request: pytest.FixtureRequest) -> tuple[str, int, int]:
    return request.param


def places(n: int, dim: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(n, dim, generator=torch.Generator().manual_seed(seed)) - 1


def answers(field: Any, x: Tensor) -> dict[str, Tensor]:
    """Everything the field offers at places x."""
    found: dict[str, Tensor] = {}
    if isinstance(field, SignalField):
        found["values"] = field.values(x)
    if isinstance(field, SurfaceField):
        found["sdf"], _ = field.sdf(x)
    if isinstance(field, RadianceField):
        sigma, features = field.density(x)
        towards = torch.nn.functional.normalize(x + 0.1, dim=-1)
        found |= {"sigma": sigma, "rgb": field.rgb(features, towards)}
    return found


def test_each_field_accepts_some_data():
    assert {name for name, _, _ in CASES} == set(REGISTRY.names("fields"))


def test_it_makes_one_of_the_three_offers(case: tuple[str, int, int]):
    field = built(*case)
    assert isinstance(field, SignalField | RadianceField | SurfaceField)
    assert isinstance(field, nn.Module)


def test_its_answers_have_their_shapes_and_ranges(case: tuple[str, int, int]):
    name, in_dim, out_dim = case
    shapes = {"values": (20, out_dim), "sdf": (20,), "sigma": (20,), "rgb": (20, 3)}
    for offer, found in answers(built(*case), places(20, in_dim)).items():
        assert found.shape == shapes[offer], f"{name}.{offer}"
        assert found.dtype == torch.float32
        assert bool(found.isfinite().all())
        if offer == "sigma":
            assert float(found.detach().min()) >= 0.0
        if offer == "rgb":
            assert 0.0 <= float(found.detach().min()) <= float(found.detach().max()) <= 1.0


def test_calling_it_gives_one_answer_per_place(case: tuple[str, int, int]):
    found = built(*case)(places(9, case[1]))
    assert len(found) == 9
    assert bool(found.isfinite().all())


def test_every_parameter_learns_from_some_answer(case: tuple[str, int, int]):
    field = built(*case)
    sum(found.sum() for found in answers(field, places(200, case[1])).values()).backward()  # pyright: ignore
    silent = [name for name, p in field.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_its_answers_carry_gradient_to_the_places(case: tuple[str, int, int]):
    x = places(20, case[1]).requires_grad_()
    for offer, found in answers(built(*case), x).items():
        (gradient,) = torch.autograd.grad(found.sum(), x, retain_graph=True)
        assert bool(gradient.isfinite().all()), offer
        assert gradient.any(), offer


def test_an_answer_does_not_depend_on_what_is_asked_beside_it(case: tuple[str, int, int]):
    field, x = built(*case), places(37, case[1])
    whole, parts = answers(field, x), [answers(field, part) for part in x.split(5)]
    for offer, found in whole.items():
        torch.testing.assert_close(torch.cat([part[offer] for part in parts]), found, rtol=1e-4, atol=1e-6)


def test_no_places_get_no_answers(case: tuple[str, int, int]):
    for found in answers(built(*case), torch.zeros(0, case[1])).values():
        assert len(found) == 0


def test_beyond_its_box_it_stays_finite(case: tuple[str, int, int]):
    for found in answers(built(*case), 3 * places(50, case[1])).values():
        assert bool(found.isfinite().all())


def test_a_radiance_field_is_empty_beyond_its_box(case: tuple[str, int, int]):
    field = built(*case)
    if isinstance(field, RadianceField):
        outside = places(50, 3).sign() * 1.5
        assert not field.density(outside)[0].any()


def test_it_lives_in_the_coordinates_of_its_data(case: tuple[str, int, int]):
    """The same field in a box elsewhere and larger answers the same at corresponding places, distances in its unit."""
    _, in_dim, _ = case
    there = Aabb.of([SHIFT - SCALE] * in_dim, [SHIFT + SCALE] * in_dim)
    x = 0.9 * places(30, in_dim)
    here, elsewhere = (answers(f, y) for f, y in ((built(*case), x), (built(*case, there), there.from_unit(x))))
    for offer, found in here.items():
        if offer == "rgb":  # its directions were made from the places
            continue
        expected = SCALE * found if offer == "sdf" else found
        torch.testing.assert_close(elsewhere[offer], expected, rtol=2e-3, atol=2e-4)


def test_its_state_is_all_of_it(case: tuple[str, int, int]):
    first, second = built(*case, seed=0), built(*case, seed=1)
    x = places(30, case[1])
    before = answers(second, x)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for offer, found in answers(second, x).items():
        assert torch.equal(found, answers(first, x)[offer]), offer
        assert not torch.equal(found, before[offer]), f"{offer} depends on the seed"


def test_the_seed_alone_decides_how_it_starts(case: tuple[str, int, int]):
    x = places(30, case[1])
    first, second = answers(built(*case, seed=5), x), answers(built(*case, seed=5), x)
    assert all(torch.equal(first[offer], second[offer]) for offer in first)


def test_its_state_holds_tensors_alone(case: tuple[str, int, int]):
    assert all(isinstance(value, Tensor) for value in built(*case).state_dict().values())


def test_data_it_cannot_hold_is_refused_in_words():
    for name in REGISTRY.names("fields"):
        refused = [pair for pair in PAIRS if (name, *pair) not in CASES]
        for in_dim, out_dim in refused:
            with pytest.raises(ValueError, match=rf"\b{in_dim}\b.*\b{out_dim}\b"):
                built(name, in_dim, out_dim)


@pytest.mark.parametrize("encoding", REGISTRY.names("encodings"))
@pytest.mark.parametrize("activation", REGISTRY.names("activations"))
def test_it_takes_every_encoding_with_every_activation(encoding: str, activation: str):
    for name, in_dim, out_dim in CASES:
        if "encoding" not in keys_of(name):
            continue
        blocks = {"encoding": {"type": encoding, **OF_ENCODINGS.get(encoding, {})}, "activation": {"type": activation}}
        build: Callable[[], nn.Module] = lambda n=name, i=in_dim, o=out_dim, b=blocks: built(n, i, o, **b)  # noqa: E731
        if encoding == "spherical_harmonics" and in_dim != 3:
            with pytest.raises(ValueError, match="3-D"):
                build()
            continue
        for found in answers(build(), places(10, in_dim)).values():
            assert bool(found.isfinite().all())
