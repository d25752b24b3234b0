"""The moving average of weights: what it averages, when it is used, and that it goes on after a restart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldengine.training.ema import Ema


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def walk(module: nn.Module, ema: Ema, steps: range) -> None:
    """A training that needs no data: the weights jump to numbers that depend on the step alone."""
    for step in steps:
        random = torch.Generator().manual_seed(step)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=random))
        ema.update()


def test_the_average_is_its_recursion_with_a_short_memory_at_the_start():
    net = module()
    ema = Ema(net, 0.9)
    expected = {name: p.detach().double().clone() for name, p in net.named_parameters()}
    for step in range(150):
        walk(net, ema, range(step, step + 1))
        decay = min(0.9, (step + 1) / (step + 11))
        for name, parameter in net.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach().double()
    for name in expected:
        torch.testing.assert_close(ema.average[name].double(), expected[name], rtol=1e-5, atol=1e-6)


def test_weights_that_stand_still_are_their_own_average():
    net = module()
    ema = Ema(net, 0.99)
    for _ in range(20):
        ema.update()
    with ema.applied():
        during = weights(net)
    torch.testing.assert_close(during, weights(net), rtol=1e-6, atol=1e-7)


def test_averaging_leaves_the_weights_and_their_gradients_alone():
    net = module()
    ema = Ema(net, 0.5)
    net(torch.ones(1, 3)).sum().backward()
    before = weights(net)
    ema.update()
    assert torch.equal(weights(net), before)
    assert all(p.grad is not None for p in net.parameters())


def test_inside_the_block_the_module_is_the_average_and_after_it_itself():
    net = module()
    ema = Ema(net, 0.9)
    walk(net, ema, range(5))
    own = weights(net)
    average = torch.cat([value.flatten() for value in ema.average.values()])
    with ema.applied():
        assert torch.equal(weights(net), average)
    assert torch.equal(weights(net), own)
    assert not torch.equal(own, average)


def test_the_weights_come_back_when_the_block_fails():
    net = module()
    ema = Ema(net, 0.9)
    walk(net, ema, range(3))
    own = weights(net)
    with pytest.raises(RuntimeError, match="evaluation failed"), ema.applied():
        raise RuntimeError("evaluation failed")
    assert torch.equal(weights(net), own)


def test_settle_keeps_the_average_for_good():
    net = module()
    ema = Ema(net, 0.9)
    walk(net, ema, range(4))
    average = {name: value.clone() for name, value in ema.average.items()}
    ema.adopt()
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter.detach(), average[name])


def test_decay_zero_costs_nothing_and_changes_nothing():
    net = module()
    ema = Ema(net, 0.0)
    walk(net, ema, range(3))
    own = weights(net)
    with ema.applied():
        assert torch.equal(weights(net), own)
    ema.adopt()
    assert torch.equal(weights(net), own)
    assert ema.state_dict()["average"] == {}


def test_a_restored_average_goes_on_to_the_same_bits():
    net = module()
    whole = Ema(net, 0.95)
    walk(net, whole, range(6))
    saved = {"updates": whole.updates, "average": {k: v.clone() for k, v in whole.average.items()}}
    walk(net, whole, range(6, 12))
    fresh = module()
    resumed = Ema(fresh, 0.95)
    resumed.load_state_dict(saved)
    walk(fresh, resumed, range(6, 12))
    assert resumed.updates == whole.updates == 12
    assert all(torch.equal(resumed.average[name], whole.average[name]) for name in whole.average)


def test_a_restored_average_lies_where_its_module_lies():
    """A checkpoint is read into main memory; `meta` stands for any other device."""
    saved = Ema(module(), 0.9).state_dict()
    elsewhere = module().to("meta")
    ema = Ema(elsewhere, 0.9)
    ema.load_state_dict(saved)
    assert {value.device.type for value in ema.average.values()} == {"meta"}
    ema.update()
