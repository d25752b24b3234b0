"""Dense grids, polynomials, encodings side by side and encodings that fade in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import fieldengine
from fieldengine_plugins.encodings.concat import Concat
from fieldengine_plugins.encodings.dense_grid import DenseGrid
from fieldengine_plugins.encodings.frequency import Frequency
from fieldengine_plugins.encodings.hash_grid import HashGrid
from fieldengine_plugins.encodings.identity import Identity
from fieldengine_plugins.encodings.peak import Peak
from fieldengine_plugins.encodings.progressive import Progressive, ProgressiveModule


def points(n: int, d: int) -> torch.Tensor:
    return torch.rand(n, d, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_dense_grid_gives_each_vertex_its_own_features(d: int):
    grid = DenseGrid(resolution=9, n_features=2).build(d)
    assert grid.table.shape[0] >= 9**d
    with torch.no_grad():
        grid.table.copy_(torch.arange(grid.table.numel()).view_as(grid.table))
    # a grid's vertices: position x in [0, 1] lies at x (9 - 1) + 0.5
    vertices = torch.tensor(list(itertools.product(range(1, 8), repeat=d)))
    x = 2 * (vertices - 0.5) / 8 - 1
    numbers = (vertices * torch.tensor([9**axis for axis in range(d)])).sum(-1)
    torch.testing.assert_close(grid(x)[:, 0], 2.0 * numbers, rtol=1e-5, atol=1e-3)


def test_a_dense_grid_has_levels_of_growing_resolution():
    grid = DenseGrid(resolution=32, coarsest=4, n_levels=4, n_features=1).build(2)
    assert [level.resolution for level in grid.levels] == [4, 8, 16, 32]
    assert all(level.dense for level in grid.levels)
    assert grid.out_dim == 4


@pytest.mark.parametrize("basis", ["tensor", "monomials"])
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("degree", [0, 1, 5])
def test_the_inner_product_of_features_is_the_polynomial_kernel(basis, unit: bool, degree: int):
    peak = Peak(degree=degree, basis=basis, unit=unit).build(2).double()
    with torch.no_grad():
        peak.coefficients.copy_(torch.linspace(-0.5, 1.5, degree + 1))
    x = points(30, 2).double()
    place = torch.cat([torch.cos(x), torch.sin(x)], -1) / math.sqrt(2) if unit else x
    kernel = sum(float(c) ** 2 * (place @ place.T) ** k for k, c in enumerate(peak.coefficients.detach()))
    features = peak(x).detach()
    torch.testing.assert_close(features @ features.T, torch.as_tensor(kernel).expand(30, 30), rtol=1e-5, atol=1e-6)
    d = 4 if unit else 2
    size = sum(d**k if basis == "tensor" else math.comb(k + d - 1, k) for k in range(degree + 1))
    assert peak(x).shape == (30, size) == (30, peak.out_dim)


def test_high_degrees_stay_on_the_scale_of_the_kernel():
    peak = Peak(degree=128).build(2)
    x = points(200, 2)
    x = x / x.norm(dim=1, keepdim=True)  # there each degree's features have size 1
    features = peak(x)
    assert features.isfinite().all()
    torch.testing.assert_close(features.square().sum(-1), torch.full((200,), 129.0), rtol=1e-3, atol=0)
    (gradient,) = torch.autograd.grad(features.sum(), peak.coefficients)
    assert gradient.isfinite().all()
    assert Peak(degree=12, unit=True).build(2)(points(50, 2)).isfinite().all()


def test_elementwise_powers_run_from_the_highest_to_the_first():
    peak = Peak(degree=3, basis="elementwise").build(2)
    with torch.no_grad():
        peak.coefficients.copy_(torch.tensor([9.0, 2.0, 3.0, 5.0]))
    x = points(10, 2)
    torch.testing.assert_close(peak(x), torch.cat([5 * x**3, 3 * x**2, 2 * x], dim=-1))


def test_too_many_features_are_refused_before_they_are_made():
    with pytest.raises(ValueError, match=r"makes 32,767 features; the most is 16,384\. Take basis monomials, or a"):
        Peak(degree=14, basis="tensor").build(2)
    with pytest.raises(ValueError, match="needs a degree of at least 1"):
        Peak(degree=0, basis="elementwise").build(2)


def test_parts_stand_side_by_side():
    torch.manual_seed(0)
    encoding = Concat(parts=(Identity(), Frequency(n_frequencies=2), HashGrid(n_levels=2, log2_table=8))).build(2)
    x = points(20, 2)
    expected = torch.cat([part(x) for part in encoding.parts], dim=-1)
    assert torch.equal(encoding(x), expected)
    assert encoding.out_dim == expected.shape[1] == 2 + 10 + 4
    assert torch.equal(encoding(x)[:, :2], x)


@pytest.mark.parametrize("inner", [HashGrid(n_levels=4, log2_table=8), Frequency(n_frequencies=4)], ids=str)
def test_levels_come_in_one_after_the_other(inner):
    encoding = Progressive(encoding=inner, until=0.5, start=1).build(2)
    assert isinstance(encoding, ProgressiveModule)
    per_level = encoding.columns[0]
    always = encoding.out_dim - 4 * per_level

    def shares() -> list[float]:
        assert torch.equal(encoding.weights[:always], torch.ones(always))
        return encoding.weights[always:].view(4, per_level)[:, 0].tolist()

    assert shares() == [1, 0, 0, 0]
    encoding.advance(0.25)  # half way to `until`: 2.5 levels
    assert shares() == pytest.approx([1, 1, 0.5, 0], abs=1e-6)
    encoding.advance(0.5)
    assert shares() == [1, 1, 1, 1]
    encoding.advance(1.0)
    x = points(10, 2)
    assert torch.equal(encoding(x), encoding.encoding(x))


def test_what_has_no_levels_cannot_fade_in():
    with pytest.raises(ValueError, match="has no levels to fade in; hash_grid, dense_grid and frequency do"):
        Progressive(encoding=Identity()).build(2)


def test_training_fades_levels_in(scene: Callable[[str], Path], photo: Path, tmp_path: Path):
    path = scene(
        "dataset: {type: image, path: photo.png}\n"
        "field: {encoding: {type: progressive, encoding: {type: hash_grid, n_levels: 4, log2_table: 8}, until: 0.6}}\n"
        "training: {steps: 10}\n"
    )
    early = fieldengine.train(path, {"training.steps": 2}, out=tmp_path / "early")
    late = fieldengine.train(path, out=tmp_path / "late")
    assert early.field.encoding.weights.min() < 1  # steps 0 and 1 of 2: a share of 0.5 at most
    assert late.field.encoding.weights.min() == 1
