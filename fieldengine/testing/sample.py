"""Small things to try plugins on: an image, a network that fits it, a surface."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fieldengine.cameras.grid import SignalGrid
from fieldengine.fields.mlp import MLP
from fieldengine.operators.identity import IdentityOperator
from fieldengine.plugins.guest import plugins_of
from fieldengine.renderers.direct import DirectRenderer
from fieldengine.runs.build import TrainedField, place
from fieldengine.training.ema import Ema
from fieldengine.training.fit import Fit
from fieldengine.training.loss import mse
from fieldengine.training.optimizer import adam
from fieldengine.training.uniform import UniformSampler
from fieldengine.types import Aabb, Batch, Domain, RunContext, View


def context() -> RunContext:
    return RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)


class Tanh:
    """The plainest activation."""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        return nn.Sequential(nn.Linear(in_dim, out_dim), nn.Tanh())

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return nn.Linear(in_dim, out_dim)


class Network(nn.Module):
    """A small signal."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = MLP(2, 3, width=8, depth=2, activation=Tanh())

    def values(self, x: Tensor) -> Tensor:
        return self.mlp(x)


class Waves:
    """An image of 8 x 12 pixels."""

    n_items, splits, surface = 96, (), None

    def __init__(self) -> None:
        self.grid = SignalGrid.of((8, 12))
        self.domain = Domain("image", Aabb.of([-1.0, -1.0], [1.0, 1.0]), 3, self.grid)
        x = self.grid.items(torch.arange(self.n_items)).positions
        self.targets = 0.5 + 0.5 * torch.sin(4.0 * x @ torch.tensor([[1.0, 2.0, -1.0], [0.5, -1.0, 2.0]]))

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        return Batch(self.grid.items(indices), self.targets[indices], None, indices)

    def views(self, split: str) -> list[View]:
        return [View("waves", self.grid, self.targets, None)]

    def notes(self) -> list[str]:
        return []


def joined(guest: Any) -> Fit:
    """A small fit that a hook has joined."""
    field, known = Network(), context()
    data: Any = Waves()
    fit = Fit(
        dataset=data,
        field=field,
        renderer=DirectRenderer(),
        operator=IdentityOperator(),
        optimizer=adam([field], 1e-2),
        ema=Ema(field, 0.0),
        loss=mse,
        sampler=UniformSampler(known.generator, known.device),
        context=known,
        batch_size=48,
        tile=20,
        plugins=plugins_of(guest),
    )
    hook = guest.build(field=field, domain=data.domain, n_items=data.n_items, steps=100, context=known)
    place([hook], [guest.plugin.name], fit)
    fit.provenance = [(hook, guest.plugin)]
    fit.optimizer = adam([part for part in (field, hook) if isinstance(part, nn.Module)], 1e-2)
    return fit


class Ball(nn.Module):
    """The signed distance to a ball of radius 1."""

    def __init__(self) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(1.0))

    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.vector_norm(x, dim=-1) - self.radius, x[:, :0]


def ball() -> TrainedField:
    domain = Domain("sdf", Aabb.of([-1.5] * 3, [1.5] * 3), 1)
    return TrainedField(Ball(), DirectRenderer(), domain, {"field": {}, "renderer": {}})
