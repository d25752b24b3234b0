"""Multiplicative filter networks against the recursion that defines them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import fieldengine
from fieldengine.api import Aabb
from fieldengine_plugins.fields.filter_network import FilterNetwork


@pytest.mark.parametrize("filters", ["fourier", "gabor"])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_network_is_the_recursion_of_its_filters(filters, depth: int):
    torch.manual_seed(0)
    box = Aabb.of([0, 2], [4, 3])
    options = FilterNetwork(filters=filters, width=8, depth=depth, scale=4, output="linear")
    network = options.build(in_dim=2, out_dim=3, aabb=box).double()
    x = torch.rand(50, 2, dtype=torch.float64) * torch.tensor([4.0, 1.0]) + torch.tensor([0.0, 2.0])
    own = torch.stack([x[:, 0] / 2 - 1, 2 * (x[:, 1] - 2) - 1], dim=-1)

    def g(i: int) -> torch.Tensor:
        part = network.filters[i]
        wave = torch.sin(own @ part.weight.t() + part.bias)
        if filters == "fourier":
            return wave
        distance = (own[:, None] - part.mu).square().sum(-1)
        return torch.exp(-0.5 * part.gamma * distance) * wave

    z = g(0)
    for i, linear in enumerate(network.maps):
        z = linear(z) * g(i + 1)
    torch.testing.assert_close(network.values(x), network.last(z))
    assert torch.autograd.gradcheck(network.values, x[:3].clone().requires_grad_())


def test_filters_are_drawn_as_published():
    torch.manual_seed(0)
    network = FilterNetwork(width=4000, depth=2).build(in_dim=2, out_dim=1, aabb=Aabb.of([-1, -1], [1, 1]))
    for part in network.filters:
        assert float(part.gamma.detach().mean()) == pytest.approx(6 / 2, rel=0.1)  # of Gamma(6 / filters, 1)
        frequencies = (part.weight / part.gamma[:, None].sqrt()).detach()
        assert float(frequencies.abs().max()) == pytest.approx(128 / 2**0.5, rel=0.01)
        assert float(part.mu.detach().abs().max()) <= 1


@pytest.mark.parametrize("filters", ["fourier", "gabor"])
def test_it_learns_a_image(filters: str, scene: Callable[[str], Path], photo: Path, tmp_path: Path):
    path = scene(
        "dataset: {type: image, path: photo.png}\n"
        f"field: {{type: filter_network, filters: {filters}, width: 32, depth: 3, scale: 8}}\n"
        "training: {batch_size: full, steps: 150, lr: 1.e-2}\n"
    )
    run = fieldengine.train(path, out=tmp_path / "run")
    assert run.metrics["psnr"] > 30
