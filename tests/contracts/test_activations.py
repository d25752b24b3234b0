"""What the layers of every installed activation must do, with its default options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fieldengine.config.document import Node, Origin
from fieldengine.config.parse import Reading, parse_plugin
from fieldengine.plugins.registry import Plugin, Registry

REGISTRY = Registry()
ACTIVATIONS = [plugin for plugin in REGISTRY if plugin.kind == "activations"]
KINDS = ("first", "hidden", "output")

every_activation = pytest.mark.parametrize(
    "plugin", ACTIVATIONS, ids=lambda plugin: f"{plugin.distribution}:{plugin.name}"
)
every_layer = pytest.mark.parametrize("kind", KINDS)


def default_options(plugin: Plugin) -> Any:
    node = Node(f"{plugin.distribution}:{plugin.name}", Origin(base=Path()))
    options, _ = parse_plugin("activations", node, "activation", Reading(REGISTRY))
    return options


def build(plugin: Plugin, kind: str, in_dim: int = 6, out_dim: int = 24, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = default_options(plugin)
        if kind == "output":
            return options.output(in_dim, out_dim)
        return options.hidden(in_dim, out_dim, is_first=kind == "first")


def random_inputs(in_dim: int = 6, m: int = 64) -> Tensor:
    return torch.rand(m, in_dim, generator=torch.Generator().manual_seed(1)) * 2 - 1


def special_inputs() -> Tensor:
    return torch.tensor([[0.0] * 6, [1.0] * 6, [-1.0] * 6, [1.0, -1.0, 0.0, 1.0, -1.0, 0.0]])


def test_the_activations_of_the_engine_are_found():
    own = {plugin.name for plugin in ACTIVATIONS if plugin.distribution == "fieldengine"}
    assert own >= {"relu", "siren", "finer"}


@every_layer
@every_activation
@pytest.mark.parametrize(("in_dim", "out_dim"), [(1, 8), (6, 2), (64, 32)])
def test_a_layer_maps_in_dim_to_out_dim_in_float32(plugin: Plugin, kind: str, in_dim: int, out_dim: int):
    in_dim = 64 if kind == "hidden" and in_dim == 1 else in_dim  # complex numbers take two places
    in_dim = 6 if kind == "output" and in_dim == 1 else in_dim
    values = build(plugin, kind, in_dim, out_dim)(random_inputs(in_dim))
    assert values.shape == (64, out_dim)
    assert values.dtype == torch.float32


@every_layer
@every_activation
def test_no_rows_give_no_rows(plugin: Plugin, kind: str):
    assert build(plugin, kind)(torch.zeros(0, 6)).shape == (0, 24)


@every_layer
@every_activation
def test_a_row_does_not_depend_on_its_neighbours(plugin: Plugin, kind: str):
    layer, x = build(plugin, kind), random_inputs()
    parts = torch.cat([layer(part) for part in x.split([1, 20, 43])])
    torch.testing.assert_close(parts, layer(x), rtol=1e-4, atol=1e-5)


@every_layer
@every_activation
def test_values_and_gradients_are_finite_also_at_special_inputs(plugin: Plugin, kind: str):
    layer = build(plugin, kind)
    for inputs in (random_inputs(), special_inputs()):
        x = inputs.requires_grad_()
        values = layer(x)
        assert values.isfinite().all()
        values.square().sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@every_layer
@every_activation
def test_gradients_are_finite_where_every_pre_activation_is_zero(plugin: Plugin, kind: str):
    layer = build(plugin, kind)
    x = random_inputs().requires_grad_()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    values = layer(x)
    assert values.isfinite().all()
    gradients = torch.autograd.grad(values.sum(), [x, *layer.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_layer
@every_activation
def test_gradient_reaches_the_input_and_all_parameters(plugin: Plugin, kind: str):
    layer, x = build(plugin, kind), random_inputs().requires_grad_()
    parameters = dict(layer.named_parameters())
    assert parameters
    (layer(x) @ torch.randn(24, generator=torch.Generator().manual_seed(2))).sum().backward()
    assert x.grad is not None
    assert x.grad.any()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def second_difference(layer: nn.Module) -> Tensor:
    """f(a) - 2 f((a + b) / 2) + f(b), zero for an affine map."""
    a, b = random_inputs(), random_inputs().flip(0)
    return layer(a) - 2 * layer((a + b) / 2) + layer(b)


@every_activation
def test_hidden_layers_bend_and_the_output_layer_is_affine(plugin: Plugin):
    assert second_difference(build(plugin, "output")).abs().max() < 1e-5
    for kind in ("first", "hidden"):
        assert second_difference(build(plugin, kind)).abs().max() > 1e-2


@every_layer
@every_activation
def test_the_same_seed_makes_the_same_layer(plugin: Plugin, kind: str):
    one, other = build(plugin, kind).state_dict(), build(plugin, kind).state_dict()
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@every_layer
@every_activation
def test_a_layer_of_another_seed_gives_the_same_values_after_loading_the_state(plugin: Plugin, kind: str):
    layer, other, x = build(plugin, kind, seed=0), build(plugin, kind, seed=1), random_inputs()
    assert not torch.equal(other(x), layer(x))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


@every_activation
def test_layers_made_by_the_same_options_share_no_parameters(plugin: Plugin):
    options = default_options(plugin)
    layers = [options.hidden(6, 6, is_first=False), options.hidden(6, 6, is_first=False), options.output(6, 6)]
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    assert len({parameter.data_ptr() for parameter in parameters}) == len(parameters)
