"""The multiresolution hash grid against bilinear interpolation, a point-by-point twin and finite differences."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from fieldengine.ops import GridLevel, grid_levels, hash_encode, table_gradients

FINEST = {1: 100, 2: 20, 3: 10, 4: 6}  # fine enough in each dimension for 16 rows to be too few


def small_grid(dim: int) -> tuple[GridLevel, ...]:
    """Four levels of at most 16 rows: the first ones dense, the last ones hashed."""
    return grid_levels(dim, n_levels=4, coarsest=2, finest=FINEST[dim], log2_table=4)


def random_table(levels: tuple[GridLevel, ...], features: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(levels[-1].offset + levels[-1].size, features, dtype=torch.float64, generator=generator)


def random_positions(m: int, dim: int) -> Tensor:
    return torch.rand(m, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def twin(x: Tensor, table: Tensor, dim: int, *, smooth: bool) -> Tensor:
    """The encoding of `small_grid(dim)` point by point, in plain numbers and from the formulas alone."""
    primes, most, n_levels, coarsest = (1, 2654435761, 805459861, 3674653429), 16, 4, 2
    growth = math.exp(math.log(FINEST[dim] / coarsest) / (n_levels - 1))
    answer = []
    for point in x.tolist():
        features, offset = [], 0
        for i in range(n_levels):
            scale = coarsest * growth**i - 1
            vertices = round(scale) + 1 if abs(scale - round(scale)) < 1e-6 else math.ceil(scale) + 1
            size = min(math.ceil(vertices**dim / 8) * 8, most)
            places = [min(max(v, 0.0), 1.0) * scale + 0.5 for v in point]
            total = torch.zeros(table.shape[1], dtype=torch.float64)
            for corner in itertools.product((0, 1), repeat=dim):
                weight, row, hashed = 1.0, 0, 0
                for axis, (place, side) in enumerate(zip(places, corner, strict=True)):
                    w = place - math.floor(place)
                    w = 3 * w**2 - 2 * w**3 if smooth else w
                    weight *= w if side else 1 - w
                    vertex = min(math.floor(place) + side, vertices - 1)
                    row += vertex * vertices**axis
                    hashed ^= (vertex * primes[axis]) & 0xFFFFFFFF
                total += weight * table[offset + (row if vertices**dim <= most else hashed % most)]
            features.append(total)
            offset += size
        answer.append(torch.cat(features))
    return torch.stack(answer)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_dense_level_is_multilinear_interpolation_with_a_half_cell_offset(dim: int):
    (level,) = grid_levels(dim, n_levels=1, coarsest=7, finest=7, log2_table=12)
    assert level.dense
    assert (level.scale, level.resolution) == (6.0, 7)
    table = random_table((level,), features=3)
    x = random_positions(500, dim)
    # vertex number p = 6 x + 0.5 counts from 0 to 6; grid_sample counts the same vertices from -1 to 1, x fastest
    image = table[: 7**dim].T.reshape(1, 3, *[7] * dim)
    places = ((x * 6 + 0.5) * (2 / 6) - 1).view(1, *[1] * (dim - 1), 500, dim)
    expected = torch.nn.functional.grid_sample(
        image, places, mode="bilinear", padding_mode="border", align_corners=True
    )
    torch.testing.assert_close(hash_encode(x, table, (level,)), expected.reshape(3, 500).T)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_every_level_equals_the_formula_point_by_point(dim: int, smooth: bool):
    levels = small_grid(dim)
    assert {level.dense for level in levels} == {True, False}
    table = random_table(levels)
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=dim)), dtype=torch.float64)
    x = torch.cat([random_positions(200, dim), corners])
    torch.testing.assert_close(hash_encode(x, table, levels, smooth=smooth), twin(x, table, dim, smooth=smooth))


@pytest.mark.parametrize("smooth", [False, True])
def test_the_tables_gradients_position_by_position_are_those_of_each_alone(smooth: bool):
    levels = small_grid(2)
    table, x = random_table(levels).requires_grad_(), random_positions(5, 2)
    g = torch.randn(5, 2 * len(levels), dtype=table.dtype, generator=torch.Generator().manual_seed(3))
    found = table_gradients(x, table, g, levels, smooth=smooth).to_dense()
    for i in range(5):
        features = hash_encode(x[i : i + 1], table, levels, smooth=smooth)
        torch.testing.assert_close(found[i], torch.autograd.grad(features, table, g[i : i + 1])[0])


def test_a_constant_table_gives_that_constant_everywhere():
    levels = small_grid(3)
    table = torch.full_like(random_table(levels), 0.75)
    encoded = hash_encode(random_positions(100, 3), table, levels)
    torch.testing.assert_close(encoded, torch.full_like(encoded, 0.75))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_gradients_to_table_and_positions_are_those_of_finite_differences(dim: int, smooth: bool):
    levels = small_grid(dim)
    table = random_table(levels, features=1).requires_grad_()
    x = random_positions(2, dim).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, table: hash_encode(x, table, levels, smooth=smooth), (x, table))


@pytest.mark.parametrize("smooth", [False, True])
def test_second_derivatives_are_those_of_finite_differences(smooth: bool):
    levels = grid_levels(2, n_levels=2, coarsest=2, finest=6, log2_table=4)
    table = random_table(levels, features=1).requires_grad_()
    x = random_positions(2, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, table: hash_encode(x, table, levels, smooth=smooth), (x, table))


def test_smoothstep_has_a_second_derivative_inside_a_cell_and_linear_has_none():
    levels = small_grid(1)
    table = random_table(levels)
    x = random_positions(50, 1).requires_grad_()

    def curvature(smooth: bool) -> float:
        y = hash_encode(x, table, levels, smooth=smooth).sum()
        (slope,) = torch.autograd.grad(y, x, create_graph=True)
        if not slope.requires_grad:
            return 0.0
        (second,) = torch.autograd.grad(slope.sum(), x, allow_unused=True)
        return 0.0 if second is None else float(second.abs().max())

    assert curvature(smooth=False) == 0.0
    assert curvature(smooth=True) > 1.0


def test_only_smoothstep_has_a_continuous_derivative_across_a_cell_border():
    levels = grid_levels(1, n_levels=1, coarsest=9, finest=9, log2_table=8)
    table = random_table(levels, features=1)
    border = (4 - 0.5) / 8  # where p = 8 x + 0.5 is vertex 4

    def jump(smooth: bool) -> float:
        x = torch.tensor([[border - 1e-9], [border + 1e-9]], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(hash_encode(x, table, levels, smooth=smooth).sum(), x)
        return float((slope[1] - slope[0]).abs())

    bend = float((table[5] - 2 * table[4] + table[3]).abs()) * 8
    assert jump(smooth=False) == pytest.approx(bend)
    assert jump(smooth=True) < 1e-5 * bend


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_positions_outside_are_moved_to_the_nearest_face(dim: int):
    levels = small_grid(dim)
    table = random_table(levels)
    x = 5 * random_positions(100, dim) - 2
    torch.testing.assert_close(hash_encode(x, table, levels), hash_encode(x.clamp(0, 1), table, levels), rtol=0, atol=0)


def test_no_positions_give_no_features():
    levels = small_grid(3)
    table = random_table(levels, features=2)
    assert hash_encode(torch.zeros(0, 3, dtype=torch.float64), table, levels).shape == (0, 4 * 2)


@pytest.mark.parametrize(("coarsest", "finest", "n_levels"), [(16, 512, 16), (16, 2048, 16), (4, 256, 7), (16, 512, 6)])
def test_the_finest_level_has_exactly_the_asked_resolution(coarsest: int, finest: int, n_levels: int):
    levels = grid_levels(3, n_levels, coarsest, finest, log2_table=19)
    assert (levels[0].resolution, levels[-1].resolution) == (coarsest, finest)
    assert levels[0].scale == coarsest - 1
    assert levels[-1].scale == pytest.approx(finest - 1)


def test_powers_of_two_have_no_vertex_too_many_on_any_level():
    levels = grid_levels(3, n_levels=6, coarsest=16, finest=512, log2_table=19)
    assert [level.resolution for level in levels] == [16, 32, 64, 128, 256, 512]


def test_one_level_has_the_coarsest_resolution():
    (level,) = grid_levels(2, n_levels=1, coarsest=10, finest=500, log2_table=19)
    assert (level.resolution, level.offset, level.size, level.dense) == (10, 0, 104, True)


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_levels_lie_one_after_the_other_in_multiples_of_eight_rows(dim: int):
    levels = grid_levels(dim, n_levels=8, coarsest=3, finest=100, log2_table=10)
    assert levels[0].offset == 0
    for level, following in itertools.pairwise(levels):
        assert following.offset == level.offset + level.size
    for level in levels:
        assert level.offset % 8 == 0
        assert level.dense == (level.resolution**dim <= 2**10)
        if level.dense:
            assert level.resolution**dim <= level.size < level.resolution**dim + 8
        else:
            assert level.size == 2**10
