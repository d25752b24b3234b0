"""Adam treats each module as it asks to be treated."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldengine.fields.radiance import Radiance
from fieldengine.training.optimizer import adam, clip, set_lr
from fieldengine.types import Aabb, AdamSettings
from fieldengine_plugins.activations.relu import Relu
from fieldengine_plugins.encodings.hash_grid import HashGrid
from fieldengine_plugins.encodings.spherical_harmonics import SphericalHarmonics

TABLE = AdamSettings(lr_scale=10.0, betas=(0.9, 0.99), eps=1e-15)
SLOW = AdamSettings(lr_scale=0.1, weight_decay=0.01)


class Asks(nn.Module):
    """A parameter of its own, a child that asks for nothing, and one that may ask for something else."""

    def __init__(self, settings: AdamSettings | None, inner: AdamSettings | None = None):
        super().__init__()
        if settings is not None:
            self.adam = settings
        self.own = nn.Parameter(torch.zeros(2))
        self.silent = nn.Linear(2, 2)
        self.speaking = nn.Linear(2, 2)
        if inner is not None:
            self.speaking.adam = inner  # pyright: ignore[reportArgumentType]


def group_of(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict:
    (found,) = [group for group in optimizer.param_groups if any(p is parameter for p in group["params"])]
    return found


def test_a_hash_table_gets_its_own_betas_and_eps_and_the_rest_of_its_field_does_not():
    options = Radiance(
        encoding=HashGrid(n_levels=2, log2_table=8, finest=32, lr_scale=4.0),
        direction_encoding=SphericalHarmonics(2),
        activation=Relu(),
        width=8,
    )
    field = options.build(in_dim=3, out_dim=3, aabb=Aabb.of([-1] * 3, [1] * 3))
    optimizer = adam([field], lr=1e-2)
    table = group_of(optimizer, field.encoding.table)
    assert (table["betas"], table["eps"], table["lr"], table["base_lr"]) == ((0.9, 0.99), 1e-15, 4e-2, 4e-2)
    for name, parameter in field.named_parameters():
        if name != "encoding.table":
            group = group_of(optimizer, parameter)
            assert (group["betas"], group["eps"], group["lr"]) == ((0.9, 0.999), 1e-8, 1e-2), name


def test_settings_hold_for_what_lies_below_until_something_there_asks_for_others():
    module = nn.Sequential(nn.Linear(2, 2), Asks(TABLE, inner=SLOW))
    optimizer = adam([module], lr=1.0)
    inner = module[1]
    assert group_of(optimizer, module[0].weight)["lr"] == 1.0
    assert group_of(optimizer, inner.own)["lr"] == 10.0
    assert group_of(optimizer, inner.silent.weight)["eps"] == 1e-15
    slow = group_of(optimizer, inner.speaking.weight)
    assert (slow["lr"], slow["weight_decay"], slow["betas"]) == (0.1, 0.01, (0.9, 0.999))


def test_equal_settings_share_a_group():
    optimizer = adam([Asks(TABLE), Asks(None), Asks(TABLE)], lr=1.0)
    assert sorted(len(group["params"]) for group in optimizer.param_groups) == [5, 10]


def test_every_parameter_that_learns_is_there_once_even_where_modules_share_it():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    first.bias.requires_grad_(False)
    optimizer = adam([first, second, first], lr=1.0)
    found = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(found) == sorted([id(first.weight), id(second.bias)])


def test_an_attribute_named_adam_of_another_type_is_no_setting():
    module = nn.Linear(2, 2)
    module.adam = "yes"  # pyright: ignore[reportArgumentType]
    assert group_of(adam([module], lr=0.5), module.weight)["lr"] == 0.5


def test_a_schedule_multiplies_every_base_rate_and_does_not_pile_up():
    optimizer = adam([Asks(None, inner=TABLE)], lr=1e-3)
    for factor in (0.5, 0.25, 0.25):
        assert set_lr(optimizer, factor) == pytest.approx(1e-3 * factor)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2.5e-4, 2.5e-3])
    assert [group["base_lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 1e-2])


def test_the_first_step_moves_each_parameter_by_its_own_rate():
    # Adam's first step is lr g / (|g| + eps) whatever the gradient
    module = Asks(AdamSettings(lr_scale=0.5), inner=AdamSettings(lr_scale=7.0))
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = adam([module], lr=1e-2)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, -3.0)
    optimizer.step()
    for name, parameter in module.named_parameters():
        moved = (parameter.detach() - before[name]).flatten()
        rate = 7e-2 if name.startswith("speaking") else 5e-3
        torch.testing.assert_close(moved, torch.full_like(moved, rate), rtol=1e-4, atol=0)


def tables(n: int, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
    """`n` equal tables of 20 x 2 after a step with each gradient, one table marked sparse and the others not."""
    found = []
    for settings in [AdamSettings(sparse=True)] + [AdamSettings()] * (n - 1):
        module = Asks(settings)
        parameter = nn.Parameter(torch.ones(20, 2))
        module.own = parameter
        optimizer = adam([module], lr=0.1)
        for gradient in gradients:
            optimizer.zero_grad()
            parameter.grad = gradient.clone()
            optimizer.step()
        found.append(parameter.detach())
    return found


def test_a_table_marked_sparse_moves_only_where_its_gradient_is_not_zero():
    gradients = [torch.zeros(20, 2), torch.zeros(20, 2)]
    gradients[0][:10] = 1.0
    gradients[1][:5] = 1.0
    sparse, dense = tables(2, gradients)
    torch.testing.assert_close(sparse[:5], dense[:5])
    torch.testing.assert_close(sparse[5:10], torch.full((5, 2), 0.9))
    assert (dense[5:10] < 0.85).all(), "momentum moves the others on"
    assert (sparse[10:] == 1).all()


@pytest.mark.parametrize("sparse", [False, True])
def test_clipping_bounds_the_norm_of_all_gradients_together(sparse: bool):
    a, b = nn.Parameter(torch.zeros(4, 1)), nn.Parameter(torch.zeros(3))
    rows, values = torch.tensor([[1, 1, 3]]), torch.tensor([[1.0], [2.0], [-4.0]])  # row 1 adds up to 3
    given = torch.sparse_coo_tensor(rows, values, (4, 1), check_invariants=True)
    a.grad, b.grad = given if sparse else given.to_dense(), torch.tensor([0.0, 0.0, 12.0])
    clip([a, b, nn.Parameter(torch.zeros(1))], most=6.5)  # the norm is 13
    torch.testing.assert_close(a.grad.to_dense()[:, 0], torch.tensor([0.0, 1.5, 0.0, -2.0]))
    torch.testing.assert_close(b.grad, torch.tensor([0.0, 0.0, 6.0]))
    clip([a, b], most=100.0)
    torch.testing.assert_close(b.grad, torch.tensor([0.0, 0.0, 6.0]))
