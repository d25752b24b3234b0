"""The frequency encoding in each of its four definitions, number by number."""

from __future__ import annotations

import math

import pytest
import torch

from fieldengine_plugins.encodings.frequency import Frequency


def positions(dim: int, m: int = 20) -> torch.Tensor:
    return torch.rand(m, dim, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("definition", ["nerf", "pi"])
def test_octaves_come_after_the_input_octave_by_octave_sines_before_cosines(definition):
    module = Frequency(definition=definition, n_frequencies=4).build(3)
    x = positions(3)
    unit = math.pi if definition == "pi" else 1.0
    expected = []
    for point in x.tolist():
        row = list(point)
        for i in range(4):
            row += [math.sin(2**i * unit * v) for v in point]
            row += [math.cos(2**i * unit * v) for v in point]
        expected.append(row)
    torch.testing.assert_close(module(x), torch.tensor(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("definition", "dim", "n_frequencies", "out_dim"),
    [("nerf", 3, 10, 63), ("nerf", 3, 4, 27), ("pi", 2, 6, 26), ("nerf", 1, 1, 3)],
)
def test_sizes_are_those_of_published_code(definition, dim: int, n_frequencies: int, out_dim: int):
    module = Frequency(definition=definition, n_frequencies=n_frequencies).build(dim)
    assert module.out_dim == out_dim
    assert module(positions(dim)).shape == (20, out_dim)


@pytest.mark.parametrize("definition", ["gaussian", "survey"])
def test_projections_are_the_sines_and_cosines_of_two_pi_b_x(definition):
    module = Frequency(definition=definition, n_projections=8, sigma=2.0).build(2)
    x = positions(2)
    phase = x @ module.projection.T
    parts = (torch.cos(phase), torch.sin(phase)) if definition == "survey" else (torch.sin(phase), torch.cos(phase))
    torch.testing.assert_close(module(x), torch.cat(parts, dim=-1), rtol=0, atol=1e-5)
    assert module.out_dim == 16


@pytest.mark.parametrize("definition", ["gaussian", "survey"])
def test_projections_have_the_standard_deviation_asked_for(definition):
    torch.manual_seed(0)
    module = Frequency(definition=definition, n_projections=20_000, sigma=3.0).build(2)
    b = module.projection / (2 * math.pi)
    assert float(b.std()) == pytest.approx(3.0, rel=0.02)
    assert abs(float(b.mean())) < 0.05
    assert "projection" in module.state_dict()


@pytest.mark.parametrize("definition", ["nerf", "pi", "gaussian", "survey"])
def test_include_input_puts_the_coordinates_in_front_or_leaves_them_out(definition):
    x = positions(2)
    torch.manual_seed(0)
    without = Frequency(definition=definition, include_input=False).build(2)
    torch.manual_seed(0)
    with_input = Frequency(definition=definition, include_input=True).build(2)
    assert with_input.out_dim == without.out_dim + 2
    torch.testing.assert_close(with_input(x), torch.cat([x, without(x)], dim=-1), rtol=0, atol=0)


def test_no_positions_give_no_features_in_any_definition():
    for definition in ("nerf", "pi", "gaussian", "survey"):
        module = Frequency(definition=definition).build(3)
        assert module(torch.zeros(0, 3)).shape == (0, module.out_dim)
