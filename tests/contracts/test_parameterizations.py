"""What every installed parameterisation must do to an MLP, with its default options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fieldengine.config.document import Node, Origin
from fieldengine.config.parse import Reading, parse_plugin
from fieldengine.fields.collapse import collapse_like, collapsed_state
from fieldengine.fields.mlp import MLP
from fieldengine.plugins.registry import Plugin, Registry

REGISTRY = Registry()
OFFERED = [plugin for plugin in REGISTRY if plugin.kind == "parameterizations"]
WIDTH = 32

every_one = pytest.mark.parametrize("plugin", OFFERED, ids=lambda plugin: f"{plugin.distribution}:{plugin.name}")
every_activation = pytest.mark.parametrize("activation", REGISTRY.names("activations"))


def options(kind: str, name: str) -> Any:
    return parse_plugin(kind, Node(name, Origin(base=Path())), kind, Reading(REGISTRY))[0]


def mlp(plugin: Plugin, activation: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MLP(
            2,
            3,
            width=WIDTH,
            depth=3,
            activation=options("activations", activation),
            parameterization=options("parameterizations", f"{plugin.distribution}:{plugin.name}"),
        )


def inputs(m: int = 64) -> Tensor:
    return torch.rand(m, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


@every_activation
@every_one
def test_an_mlp_keeps_its_shape_and_every_parameter_its_gradient(plugin: Plugin, activation: str):
    network = mlp(plugin, activation)
    values = network(inputs())
    assert values.shape == (64, 3)
    values.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@every_activation
@every_one
def test_collapsed_its_state_gives_another_network_the_same_values(plugin: Plugin, activation: str):
    network, other = mlp(plugin, activation).eval(), mlp(plugin, activation, seed=1).eval()
    state = collapsed_state(network)
    assert not any("parametrizations" in name for name in state)
    collapse_like(other, state)
    other.load_state_dict(state)
    torch.testing.assert_close(other(inputs()), network(inputs()), rtol=1e-4, atol=1e-4)


@every_one
def test_the_same_seed_makes_the_same_network(plugin: Plugin):
    one, other = mlp(plugin, "siren").state_dict(), mlp(plugin, "siren").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@every_one
def test_in_eval_mode_a_row_does_not_depend_on_its_neighbours(plugin: Plugin):
    network, x = mlp(plugin, "relu").eval(), inputs()
    parts = torch.cat([network(part) for part in x.split([1, 20, 43])])
    torch.testing.assert_close(parts, network(x), rtol=1e-4, atol=1e-5)


@every_one
def test_second_derivatives_exist(plugin: Plugin):
    network, x = mlp(plugin, "siren"), inputs().requires_grad_()
    (slope,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad is not None
    assert x.grad.any()
