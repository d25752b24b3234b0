"""`fieldengine.testing`: what our own plugins pass, and what a broken one is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fieldengine import testing
from fieldengine.errors import FieldEngineError, PluginError
from fieldengine.plugins.registry import Registry
from fieldengine.types import Aabb, Domain, Points


def options(kind: str, name: str, **keys: Any) -> Any:
    return Registry().find(kind, name).load()(**keys)


SOUND: dict[str, Callable[[Path], None]] = {
    "hash_grid": lambda _: testing.check_encoding(options("encodings", "hash_grid", n_levels=3, log2_table=8)),
    "siren": lambda _: testing.check_activation(options("activations", "siren")),
    "wire": lambda _: testing.check_activation(options("activations", "wire")),
    "plain": lambda _: testing.check_parameterization(options("parameterizations", "plain")),
    "stratified": lambda _: testing.check_ray_sampler(options("ray_samplers", "stratified", n_samples=8)),
    "opencv": lambda _: testing.check_camera(options("cameras", "opencv")),
    "psnr": lambda _: testing.check_metric(options("metrics", "psnr")),
    "procedural": lambda _: testing.check_dataset(options("datasets", "procedural", views=2, test_views=1, size=6)),
    "kar": lambda _: testing.check_hook(options("hooks", "kar")),
    "mesh": lambda folder: testing.check_exporter(options("exporters", "mesh", resolution=12), folder / "ball.ply"),
}


@pytest.mark.parametrize("name", SOUND)
def test_our_own_plugins_pass(name: str, tmp_path: Path):
    SOUND[name](tmp_path)


# ------------------------------------------------------------------------------------------------------------- broken


class Doubled(nn.Module):
    """An encoding that mixes its rows."""

    out_dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x - x.mean(dim=0))


class Stopped(Doubled):
    """An encoding of which one parameter gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


class Unseeded(Doubled):
    """An encoding that keeps a number outside its state."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Unseeded.made += 1
        self.number = Unseeded.made

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.number


@dataclass(frozen=True)
class OfEncoding:
    module: Any = None

    def build(self, in_dim: int) -> Any:
        return self.module()


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Doubled, "expected rows that do not depend on the others; found some"),
        (Stopped, "expected gradient in every parameter; none reaches unused"),
        (Unseeded, "expected the same numbers of the same seed; found some"),
    ],
)
def test_a_broken_encoding_is_told_what_was_expected(module: type[nn.Module], said: str):
    with pytest.raises(PluginError, match=f'encodings plugin "OfEncoding" of test_testing: {said}'):
        testing.check_encoding(OfEncoding(module), in_dim=2)


@dataclass(frozen=True)
class Forgetful:
    """A hook that counts, and does not keep its count as its state."""

    def build(self, n_items: int, context: Any) -> Any:
        return Counting(n_items)


class Counting:
    def __init__(self, n_items: int) -> None:
        self.n_items, self.count = n_items, 0

    def select(self, step: int, n: int, scores: Any) -> Tensor:
        self.count += 1
        return (torch.arange(n) + 7 * self.count) % self.n_items


def test_a_hook_that_loses_its_state_is_told():
    with pytest.raises(PluginError, match="expected the same weights when its state is put into another"):
        testing.check_hook(Forgetful())


@dataclass(frozen=True)
class Constant:
    """An operator whose measurements do not depend on what was rendered."""

    def build(self, *, domain: Domain) -> Any:
        return self

    n_places = 1

    def places(self, items: Points) -> Points:
        return items

    def measure(self, values: Tensor, items: Points) -> Tensor:
        return 0.0 * values


def test_an_operator_without_gradient_is_told():
    domain = Domain("image", Aabb.of([-1.0, -1.0], [1.0, 1.0]), 3)
    with pytest.raises(FieldEngineError, match="expected gradient of the measurements in the values, found none"):
        testing.check_operator(Constant(), domain=domain, items=Points(torch.rand(5, 2)))
