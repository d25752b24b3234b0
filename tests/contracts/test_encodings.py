"""What every installed encoding must do, with its default options and in every dimension it accepts."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fieldengine.config.document import Origin, from_python
from fieldengine.config.parse import Reading, parse_plugin
from fieldengine.plugins.registry import Plugin, Registry

REGISTRY = Registry()
ENCODINGS = [plugin for plugin in REGISTRY if plugin.kind == "encodings"]
DIMENSIONS = (1, 2, 3, 4)
NEEDED = {"concat": {"parts": ["identity", "frequency"]}}  # keys without a default

every_encoding = pytest.mark.parametrize("plugin", ENCODINGS, ids=lambda plugin: f"{plugin.distribution}:{plugin.name}")


def default_options(plugin: Plugin) -> Any:
    block = {"type": f"{plugin.distribution}:{plugin.name}", **NEEDED.get(plugin.name, {})}
    options, _ = parse_plugin("encodings", from_python(block, Origin(base=Path())), "encoding", Reading(REGISTRY))
    return options


def build(plugin: Plugin, dim: int, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return default_options(plugin).build(dim)


def accepted(plugin: Plugin) -> list[int]:
    """The dimensions it can be built for. It refuses others by ValueError and by nothing else."""
    options, dims = default_options(plugin), []
    for dim in DIMENSIONS:
        with suppress(ValueError):
            options.build(dim)
            dims.append(dim)
    return dims


def random_positions(dim: int, m: int = 64) -> Tensor:
    return torch.rand(m, dim, generator=torch.Generator().manual_seed(1)) * 2 - 1


def special_positions(dim: int) -> Tensor:
    """Corners, faces and centre of the box, and places that rounding has moved just beyond a face."""
    inside = itertools.product((-1.0, 0.0, 1.0), repeat=dim)
    return torch.tensor([*inside, [-1.0001] * dim, [1.0001] * dim])


def test_the_encodings_of_the_engine_are_found():
    own = {plugin.name for plugin in ENCODINGS if plugin.distribution == "fieldengine"}
    assert own >= {"identity", "frequency", "fourier", "hash_grid", "spherical_harmonics"}


@every_encoding
def test_accepts_at_least_one_dimension_and_refuses_others_by_value_error(plugin: Plugin):
    assert accepted(plugin)
    for dim in set(DIMENSIONS) - set(accepted(plugin)):
        with pytest.raises(ValueError, match=r"\w"):  # in words
            build(plugin, dim)


def test_spherical_harmonics_take_three_dimensions_and_the_others_any():
    own = {plugin.name: accepted(plugin) for plugin in ENCODINGS if plugin.distribution == "fieldengine"}
    assert own.pop("spherical_harmonics") == [3]
    assert own.pop("hash_grid") == [1, 2, 3, 4]
    assert own.pop("identity") == own.pop("frequency") == own.pop("fourier") == [1, 2, 3, 4]


@every_encoding
def test_gives_out_dim_numbers_of_float32_for_each_position(plugin: Plugin):
    for dim in accepted(plugin):
        module = build(plugin, dim)
        encoded = module(random_positions(dim))
        assert isinstance(module.out_dim, int)
        assert encoded.shape == (64, module.out_dim)
        assert encoded.dtype == torch.float32


@every_encoding
def test_no_positions_give_no_features(plugin: Plugin):
    for dim in accepted(plugin):
        module = build(plugin, dim)
        assert module(torch.zeros(0, dim)).shape == (0, module.out_dim)


@every_encoding
def test_the_features_of_a_position_do_not_depend_on_its_neighbours(plugin: Plugin):
    for dim in accepted(plugin):
        module, x = build(plugin, dim), random_positions(dim)
        parts = torch.cat([module(part) for part in x.split([1, 20, 43])])
        torch.testing.assert_close(parts, module(x), rtol=1e-4, atol=1e-5)


@every_encoding
def test_values_and_gradients_are_finite_everywhere_in_the_box(plugin: Plugin):
    for dim in accepted(plugin):
        module = build(plugin, dim)
        for positions in (random_positions(dim), special_positions(dim)):
            x = positions.requires_grad_()
            encoded = module(x)
            assert encoded.isfinite().all()
            encoded.square().sum().backward()
            assert x.grad is not None
            assert x.grad.isfinite().all()
            for name, parameter in module.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.to_dense().isfinite().all(), name


@every_encoding
def test_gradient_reaches_positions_and_all_parameters(plugin: Plugin):
    for dim in accepted(plugin):
        module, x = build(plugin, dim), random_positions(dim).requires_grad_()
        mix = torch.randn(module.out_dim, generator=torch.Generator().manual_seed(2))
        (module(x) @ mix).sum().backward()
        assert x.grad is not None
        assert x.grad.any()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


@every_encoding
def test_asking_changes_no_state_and_gives_the_same_again(plugin: Plugin):
    for dim in accepted(plugin):
        module, x = build(plugin, dim), random_positions(dim)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        first = module(x)
        assert torch.equal(module(x), first)
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name]), name


@every_encoding
def test_the_same_seed_makes_the_same_module(plugin: Plugin):
    for dim in accepted(plugin):
        one, other = build(plugin, dim).state_dict(), build(plugin, dim).state_dict()
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


@every_encoding
def test_a_module_of_another_seed_gives_the_same_features_after_loading_the_state(plugin: Plugin):
    for dim in accepted(plugin):
        module, other, x = build(plugin, dim, seed=0), build(plugin, dim, seed=1), random_positions(dim)
        other.load_state_dict(module.state_dict())
        assert torch.equal(other(x), module(x))
