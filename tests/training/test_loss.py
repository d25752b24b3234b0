"""Losses are their formulas, and the cotangent is the gradient of their mean over the batch."""

from __future__ import annotations

import typing
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fieldengine.config.scene import Training
from fieldengine.training.loss import LOSSES, cotangent

Formula = Callable[[np.ndarray, np.ndarray], np.ndarray]
FORMULAS: dict[str, Formula] = {
    "mse": lambda f, y: ((f - y) ** 2).mean(-1),
    "l1": lambda f, y: np.abs(f - y).mean(-1),
    "smooth_l1": lambda f, y: np.where(np.abs(f - y) < 0.1, (f - y) ** 2 / 0.2, np.abs(f - y) - 0.05).mean(-1),
    "relative": lambda f, y: (np.abs(f - y) / (np.abs(y) + 0.01)).mean(-1),
}


def values_and_targets(n: int, c: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Residuals on both sides of zero and of the bend of smooth_l1, targets on both sides of zero."""
    random = torch.Generator().manual_seed(seed)
    targets = torch.randn(n, c, generator=random)
    scale = torch.tensor([0.02, 0.5])[torch.arange(n * c).view(n, c) % 2]
    return targets + scale * torch.randn(n, c, generator=random), targets


def test_the_scene_offers_the_losses_that_exist_and_each_has_its_formula_here():
    offered = typing.get_args(typing.get_type_hints(Training)["loss"])
    assert set(offered) == set(LOSSES) == set(FORMULAS)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_loss_is_its_formula_item_by_item(name: str, channels: int):
    values, targets = values_and_targets(64, channels)
    expected = FORMULAS[name](values.double().numpy(), targets.double().numpy())
    found = LOSSES[name](values, targets)
    assert found.shape == (64,)
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_fit_costs_nothing_and_has_no_gradient(name: str):
    _, targets = values_and_targets(16, 3)
    losses, g = cotangent(LOSSES[name], targets.clone(), targets, 16)
    assert not losses.any()
    assert not g.any()


def test_smooth_l1_is_smooth_where_it_turns_linear():
    turn = torch.tensor([[0.1 - 1e-5], [0.1 + 1e-5]])
    losses, g = cotangent(LOSSES["smooth_l1"], turn, torch.zeros(2, 1), 1)
    assert losses[0] == pytest.approx(float(losses[1]), abs=3e-5)
    assert g[0] == pytest.approx(float(g[1]), abs=2e-4)


def test_relative_counts_the_same_error_more_where_the_target_is_near_zero():
    near, far = LOSSES["relative"](torch.tensor([[0.05], [1.05]]), torch.tensor([[0.0], [1.0]]))
    assert near == pytest.approx(5.0, rel=1e-5)
    assert far == pytest.approx(0.05 / 1.01, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_the_cotangent_is_the_gradient_of_the_batch_mean(name: str):
    values, targets = values_and_targets(48, 3)
    leaf = values.clone().requires_grad_()
    LOSSES[name](leaf, targets).mean().backward()
    losses, g = cotangent(LOSSES[name], values, targets, 48)
    assert leaf.grad is not None
    torch.testing.assert_close(g, leaf.grad, rtol=1e-6, atol=0)
    torch.testing.assert_close(losses, LOSSES[name](values, targets), rtol=0, atol=0)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 40), size=st.integers(1, 45), c=st.integers(1, 4), name=st.sampled_from(sorted(LOSSES)))
def test_tiles_of_any_size_make_up_the_whole_batch(n: int, size: int, c: int, name: str):
    values, targets = values_and_targets(n, c, seed=n + 100 * c)
    whole_losses, whole_g = cotangent(LOSSES[name], values, targets, n)
    parts = [cotangent(LOSSES[name], values[i : i + size], targets[i : i + size], n) for i in range(0, n, size)]
    torch.testing.assert_close(torch.cat([losses for losses, _ in parts]), whole_losses, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.cat([g for _, g in parts]), whole_g, rtol=1e-6, atol=0)


def test_neither_losses_nor_cotangent_carry_a_graph_and_values_stay_untouched():
    values, targets = values_and_targets(8, 2)
    weight = torch.ones(2, requires_grad=True)
    rendered = values * weight
    with torch.no_grad():
        losses, g = cotangent(LOSSES["mse"], rendered, targets, 8)
    assert not losses.requires_grad
    assert not g.requires_grad
    assert weight.grad is None
    assert torch.equal(cotangent(LOSSES["mse"], values, targets, 8)[1], g)
    assert not values.requires_grad
    rendered.backward(g)  # the graph behind the values is still whole
    assert weight.grad is not None
