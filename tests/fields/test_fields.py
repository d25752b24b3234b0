"""The three fields: how many layers, what their answers mean, and in which units."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fieldengine.fields.mlp import MLP
from fieldengine.fields.radiance import Radiance, TruncatedExp
from fieldengine.fields.signal import Signal
from fieldengine.fields.surface import Surface
from fieldengine.kinds.field import RadianceField, SignalField, SurfaceField
from fieldengine.types import Aabb
from fieldengine_plugins.activations.finer import Finer
from fieldengine_plugins.activations.relu import Relu
from fieldengine_plugins.encodings.frequency import Frequency
from fieldengine_plugins.encodings.hash_grid import HashGrid
from fieldengine_plugins.encodings.identity import Identity
from fieldengine_plugins.encodings.spherical_harmonics import SphericalHarmonics

BOX = Aabb.of([-1, -2, 0], [1, 2, 6])


def signal(**options) -> nn.Module:
    torch.manual_seed(0)
    built = Signal(**{"encoding": Identity(), "activation": Finer(), "width": 16, "depth": 2, **options})
    return built.build(in_dim=2, out_dim=3, aabb=Aabb.of([0, 0], [1, 1]))


def radiance(aabb: Aabb = BOX, **options) -> nn.Module:
    torch.manual_seed(0)
    parts = {"encoding": Identity(), "direction_encoding": SphericalHarmonics(), "activation": Relu(), **options}
    return Radiance(**parts).build(in_dim=3, out_dim=3, aabb=aabb)


def surface(aabb: Aabb = BOX, **options) -> nn.Module:
    torch.manual_seed(0)
    parts = {"encoding": Identity(), "activation": Finer(), "width": 16, "depth": 2, **options}
    return Surface(**parts).build(in_dim=3, out_dim=1, aabb=aabb)


def random_points(aabb: Aabb, m: int = 200) -> Tensor:
    unit = torch.rand(m, aabb.dim, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return aabb.from_unit(unit)


def random_directions(m: int = 200) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(m, 3, generator=torch.Generator().manual_seed(2)), dim=-1)


# -------------------------------------------------------------------------------------------------------------- MLP


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_depth_counts_activated_layers_and_a_linear_map_follows(depth: int):
    mlp = MLP(2, 3, width=8, depth=depth, activation=Relu())
    assert len(mlp.layers) == depth + 1
    assert sum(isinstance(module, nn.ReLU) for module in mlp.modules()) == depth
    linears = [module for module in mlp.modules() if isinstance(module, nn.Linear)]
    assert len(linears) == depth + 1
    assert (linears[0].in_features, linears[-1].out_features) == (2, 3)
    assert mlp(torch.zeros(5, 2)).shape == (5, 3)


@pytest.mark.parametrize(("width", "depth", "parameters"), [(256, 3, 133_123), (256, 4, 198_915), (256, 5, 264_707)])
def test_parameter_counts_are_those_of_the_published_image_networks(width: int, depth: int, parameters: int):
    mlp = MLP(2, 3, width=width, depth=depth, activation=Finer())
    assert sum(parameter.numel() for parameter in mlp.parameters()) == parameters


def test_the_activation_is_told_which_layer_is_the_first():
    told: list[tuple[int, int, bool]] = []

    class Telling(Relu):
        def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
            told.append((in_dim, out_dim, is_first))
            return super().hidden(in_dim, out_dim, is_first=is_first)

    MLP(2, 3, width=8, depth=3, activation=Telling())
    assert told == [(2, 8, True), (8, 8, False), (8, 8, False)]


# ----------------------------------------------------------------------------------------------------------- signal


def test_the_output_modes_are_three_views_of_the_same_network():
    x = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    linear = signal(output="linear").values(x)
    torch.testing.assert_close(signal(output="signed").values(x), (linear + 1) / 2)
    torch.testing.assert_close(signal(output="sigmoid").values(x), 1 / (1 + torch.exp(-linear)))


def test_a_signal_is_asked_in_the_datas_own_coordinates():
    small, large = Aabb.of([0, 0], [1, 1]), Aabb.of([100, -10], [300, 30])
    fields = []
    for box in (small, large):
        torch.manual_seed(0)
        options = Signal(encoding=Identity(), activation=Relu(), width=16, depth=2)
        fields.append(options.build(in_dim=2, out_dim=3, aabb=box))
    torch.testing.assert_close(fields[0].values(random_points(small)), fields[1].values(random_points(large)))


def test_a_signal_without_hidden_layers_is_an_affine_map():
    field = signal(depth=0, output="linear")
    a, b = torch.rand(20, 2), torch.rand(20, 2)
    torch.testing.assert_close(field.values((a + b) / 2), (field.values(a) + field.values(b)) / 2)


# --------------------------------------------------------------------------------------------------------- radiance


@pytest.mark.parametrize("density", ["exp", "softplus", "relu"])
def test_density_is_never_negative(density: str):
    field = radiance(density=density, density_shift=0.0)
    sigma, features = field.density(random_points(BOX))
    assert sigma.shape == (200,)
    assert features.shape == (200, 15)
    assert (sigma >= 0).all()
    assert sigma.any()


def test_density_is_zero_outside_the_box_and_carries_no_gradient_there():
    field = radiance()
    outside = random_points(BOX)
    outside[:, 1] = torch.where(outside[:, 1] > 0, outside[:, 1] + 2.01, outside[:, 1] - 2.01)
    sigma, _ = field.density(outside)
    assert not sigma.any()
    sigma.sum().backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in field.parameters())
    corners = torch.stack([BOX.lower, BOX.upper])
    assert (field.density(corners)[0] > 0).all()


def test_the_shift_is_added_before_the_exponential():
    sigma, shifted = (radiance(density_shift=shift).density(random_points(BOX))[0] for shift in (0.0, 2.0))
    torch.testing.assert_close(shifted, sigma * torch.exp(torch.tensor(2.0)))


def test_colours_lie_between_zero_and_one_and_depend_on_features_and_direction():
    field = radiance()
    _, features = field.density(random_points(BOX))
    rgb = field.rgb(features, random_directions())
    assert rgb.shape == (200, 3)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    assert not torch.allclose(rgb, field.rgb(features, -random_directions()))
    assert not torch.allclose(rgb, field.rgb(features.flip(0), random_directions()))


def test_forward_is_density_alone():
    field = radiance()
    torch.testing.assert_close(field(random_points(BOX)), field.density(random_points(BOX))[0])


def test_truncated_exp_is_exp_with_a_gradient_that_stops_growing_at_fifteen():
    x = torch.tensor([-100.0, -3.0, 0.0, 14.0, 15.0, 16.0, 50.0], requires_grad=True)
    y = TruncatedExp.apply(x)
    torch.testing.assert_close(y, torch.exp(x))
    (gradient,) = torch.autograd.grad((2 * y).sum(), x)
    torch.testing.assert_close(gradient, 2 * torch.exp(x.clamp(max=15)))


def test_truncated_exp_is_finite_wherever_the_network_ends_up():
    x = torch.tensor([89.0, 1e3, 1e30, -1e30], requires_grad=True)
    y = TruncatedExp.apply(x)
    assert y.isfinite().all()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isfinite().all()


# ---------------------------------------------------------------------------------------------------------- surface


def test_distance_in_own_units_grows_with_the_box():
    large = Aabb(BOX.lower * 10, BOX.upper * 10)
    x = random_points(BOX)
    torch.testing.assert_close(surface(large).sdf(10 * x)[0], 10 * surface(BOX).sdf(x)[0])
    torch.testing.assert_close(surface(large).values(10 * x), surface(BOX).values(x))


def test_values_are_distances_in_half_edges_of_the_box():
    assert BOX.half_edge == 3.0
    field, x = surface(), random_points(BOX)
    torch.testing.assert_close(field.sdf(x)[0], 3 * field.values(x)[:, 0])
    torch.testing.assert_close(field(x), field.sdf(x)[0])


def test_a_surface_hands_over_as_many_features_as_asked():
    distance, features = surface(features=7).sdf(random_points(BOX))
    assert distance.shape == (200,)
    assert features.shape == (200, 7)
    assert surface(features=7).values(random_points(BOX)).shape == (200, 1)
    assert surface().sdf(random_points(BOX))[1].shape == (200, 0)


# ------------------------------------------------------------------------------------------------------- all of them


def test_fields_offer_what_renderers_look_for():
    assert isinstance(signal(), SignalField)
    assert isinstance(radiance(), RadianceField)
    assert isinstance(surface(), SurfaceField)
    assert not isinstance(signal(), RadianceField)
    assert not isinstance(radiance(), SurfaceField)


def test_data_of_other_dimensions_is_refused_in_words():
    parts = {"encoding": Identity(), "activation": Relu()}
    with pytest.raises(ValueError, match=r"3-D positions to 3 colours.* 2 and 3"):
        Radiance(direction_encoding=SphericalHarmonics(), **parts).build(in_dim=2, out_dim=3, aabb=BOX)
    with pytest.raises(ValueError, match=r"one distance.* 3 and 3"):
        Surface(**parts).build(in_dim=3, out_dim=3, aabb=BOX)


@pytest.mark.parametrize(
    "encoding", [Identity(), Frequency(), HashGrid(log2_table=8)], ids=["identity", "frequency", "hash"]
)
def test_no_positions_give_no_values(encoding):
    sigma, features = radiance(encoding=encoding).density(torch.zeros(0, 3))
    assert (sigma.shape, features.shape) == ((0,), (0, 15))
    assert radiance(encoding=encoding).rgb(features, torch.zeros(0, 3)).shape == (0, 3)
    assert surface(encoding=encoding).sdf(torch.zeros(0, 3))[0].shape == (0,)


@pytest.mark.parametrize("make", [signal, radiance, surface])
def test_the_box_is_not_part_of_the_state(make):
    field = make()
    names = set(field.state_dict())
    assert names == {name for name, _ in field.named_parameters()}
