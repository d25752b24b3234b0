"""A stranger's plugins, each broken in one way. Tests install this file as a distribution; see test_broken_plugins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from fieldengine.api import (
    Aabb,
    Batch,
    Domain,
    EncodingOptions,
    NearSamples,
    Points,
    Rays,
    Rendered,
    RunContext,
    Samples,
    View,
)
from fieldengine.cameras.camera import Camera
from fieldengine.cameras.grid import SignalGrid
from fieldengine.cameras.restore import camera_model
from fieldengine.plugins.registry import Registry

WORKS = 5  # how often what fails late is asked before it does: more often than before training


def building(make: Callable[[], Any], base: type = object) -> Any:
    """Options whose `build` makes this."""
    return dataclass(frozen=True)(type("Options", (base,), {"build": lambda self: make()}))


def encoding(make: Callable[[int], Any]) -> Any:
    """Options of an encoding, of which this is the module."""
    return dataclass(frozen=True)(type("Options", (), {"build": lambda self, in_dim: make(in_dim)}))


def hook(make: Callable[[int], Any]) -> Any:
    """Options of a hook, which is this."""
    return dataclass(frozen=True)(type("Options", (), {"build": lambda self, n_items: make(n_items)}))


# ------------------------------------------------------------------------------------------------------------- classes


@dataclass
class Thawed:
    def build(self, in_dim: int) -> Any: ...


@dataclass(frozen=True)
class Unreadable:
    key: Undefined = 3  # noqa: F821  # pyright: ignore

    def build(self, in_dim: int) -> Any: ...


@dataclass(frozen=True)
class Untyped:
    key: Tensor | None = None
    """pydantic knows no tensors"""

    def build(self, in_dim: int) -> Any: ...


@dataclass(frozen=True)
class Misdefault:
    key: int = 2.5  # pyright: ignore

    def build(self, in_dim: int) -> Any: ...


@dataclass(frozen=True)
class Opaque:
    key: Any = field(default_factory=object)

    def build(self, in_dim: int) -> Any: ...


@dataclass(frozen=True)
class Factory:
    key: int = field(default_factory=lambda: {}["key"])

    def build(self, in_dim: int) -> Any: ...


@dataclass(frozen=True)
class Typed:
    type: str = "mine"

    def build(self, in_dim: int) -> Any: ...


@dataclass(frozen=True)
class Uninitialised:
    key: int = field(default=1, init=False)

    def build(self, in_dim: int) -> Any: ...


@dataclass(frozen=True)
class Postponed:
    def __post_init__(self) -> None:
        vars(self)["key"]

    def build(self, in_dim: int) -> Any: ...


def strict(value: int) -> int:
    return {1: 1}[value]


@dataclass(frozen=True)
class Validating:
    key: Annotated[int, AfterValidator(strict)] = 1

    def build(self, in_dim: int) -> Any: ...


@dataclass(frozen=True)
class Buildless:
    pass


@dataclass(frozen=True)
class Leaving:
    def build(self, in_dim: int) -> Any:
        sys.exit(3)


# ----------------------------------------------------------------------------------------------------------- encodings


class Encoded(nn.Module):
    """A sound encoding."""

    def __init__(self, in_dim: int):
        super().__init__()
        self.out_dim: Any = in_dim
        self.left = WORKS

    def forward(self, x: Tensor) -> Tensor:
        return x


Sound = encoding(Encoded)


@dataclass(frozen=True)
class Greedy:
    def build(self, in_dim: int, banana: int) -> Any: ...


@dataclass(frozen=True)
class Deaf:
    def build(self) -> Any: ...


@dataclass(frozen=True)
class Positional:
    def build(self, in_dim: int, /) -> Any: ...


@dataclass(frozen=True)
class RaisesType:
    def build(self, in_dim: int) -> Any:
        return in_dim + "two"  # pyright: ignore


@dataclass(frozen=True)
class RaisesKey:
    def build(self, in_dim: int) -> Any:
        return {}["key"]


@dataclass(frozen=True)
class RaisesAttribute:
    def build(self, in_dim: int) -> Any:
        return in_dim.nothing  # pyright: ignore


@dataclass(frozen=True)
class RaisesZero:
    def build(self, in_dim: int) -> Any:
        return in_dim // 0


@dataclass(frozen=True)
class Refuses:
    def build(self, in_dim: int) -> Any:
        raise ValueError(f"encodes no {in_dim} dimensions")


@dataclass(frozen=True)
class ReturnsNone:
    def build(self, in_dim: int) -> Any:
        return None


@dataclass(frozen=True)
class ReturnsFunction:
    def build(self, in_dim: int) -> Any:
        return torch.sin


@dataclass(frozen=True)
class Widthless:
    def build(self, in_dim: int) -> Any:
        return nn.Identity()


@dataclass(frozen=True)
class WidthOfText:
    def build(self, in_dim: int) -> Any:
        module = Encoded(in_dim)
        module.out_dim = "2"
        return module


@dataclass(frozen=True)
class WrongWidth:
    def build(self, in_dim: int) -> Any:
        return Encoded(in_dim + 1)


class DoubleModule(Encoded):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


Double = encoding(DoubleModule)


class ArrayModule(Encoded):
    def forward(self, x: Tensor) -> Any:
        return x.tolist()


Listing = encoding(ArrayModule)


class FailingModule(Encoded):
    def forward(self, x: Tensor) -> Any:
        return vars(self)["table"][x]


Failing = encoding(FailingModule)


class LevelsModule(Encoded):
    level_columns = (1, "two")


Levels = encoding(LevelsModule)


class FastModule(Encoded):
    highest_frequency = "high"


Fast = encoding(FastModule)


class AdvancingModule(Encoded):
    def advance(self) -> None:
        return


Advancing = encoding(AdvancingModule)


class ExtraModule(Encoded):
    def get_extra_state(self) -> Any:
        return {1, 2}

    def set_extra_state(self, state: Any) -> None:
        return


Extra = encoding(ExtraModule)


class LateModule(Encoded):
    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("ran out of luck")
        return x


Late = encoding(LateModule)


class BackwardsFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return {}["slope"]


class BackwardsModule(Encoded):
    def __init__(self, in_dim: int):
        super().__init__(in_dim)
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Any:
        return BackwardsFunction.apply(x * self.gain)


Backwards = encoding(BackwardsModule)


class EvaluatedModule(Encoded):
    """Fails in an evaluation, of more rows than any step has."""

    most = 100

    def forward(self, x: Tensor) -> Tensor:
        return x[:, [0, 5]] if len(x) > self.most else x


Evaluated = encoding(EvaluatedModule)


class LargeModule(EvaluatedModule):
    """Fails for more rows than the data have pixels."""

    most = 400


Large = encoding(LargeModule)


@dataclass(frozen=True)
class Nesting:
    """Ours to hold another, whose build it calls as it should not."""

    inner: EncodingOptions

    def build(self, in_dim: int) -> Any:
        return self.inner.build(in_dim).nothing  # pyright: ignore


# --------------------------------------------------------------------------------------------------------- activations


@dataclass(frozen=True)
class Tanh:
    """A sound activation, of which the broken ones change a part."""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> Any:
        return nn.Sequential(nn.Linear(in_dim, out_dim), nn.Tanh())

    def output(self, in_dim: int, out_dim: int) -> Any:
        return nn.Linear(in_dim, out_dim)


@dataclass(frozen=True)
class FirstDeaf(Tanh):
    def hidden(self, in_dim: int, out_dim: int) -> Any: ...  # pyright: ignore


@dataclass(frozen=True)
class Outless:
    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> Any: ...


@dataclass(frozen=True)
class HiddenNone(Tanh):
    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> Any:
        return None


@dataclass(frozen=True)
class HiddenRaises(Tanh):
    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> Any:
        return {}["layer"]


@dataclass(frozen=True)
class HiddenWide(Tanh):
    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> Any:
        return nn.Linear(in_dim, out_dim + 1)


@dataclass(frozen=True)
class HiddenWants(Tanh):
    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> Any:
        return nn.Linear(in_dim if is_first else in_dim + 1, out_dim)


@dataclass(frozen=True)
class OutputWide(Tanh):
    def output(self, in_dim: int, out_dim: int) -> Any:
        return nn.Linear(in_dim, out_dim + 1)


@dataclass(frozen=True)
class OutputDouble(Tanh):
    def output(self, in_dim: int, out_dim: int) -> Any:
        return nn.Sequential(nn.Linear(in_dim, out_dim), Doubled())


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


class LateLayer(nn.Linear):
    left = WORKS

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError("no more layers")
        return super().forward(x)


@dataclass(frozen=True)
class LateHidden(Tanh):
    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> Any:
        return LateLayer(in_dim, out_dim)


# --------------------------------------------------------------------------------------------------- parameterizations


@dataclass(frozen=True)
class Layerless:
    def apply(self, width: int) -> Any: ...


@dataclass(frozen=True)
class Fewer:
    def apply(self, layers: Sequence[nn.Module], width: int) -> Any:
        return layers[:-1]


@dataclass(frozen=True)
class NoLayers:
    def apply(self, layers: Sequence[nn.Module], width: int) -> Any:
        return None


@dataclass(frozen=True)
class NotLayers:
    def apply(self, layers: Sequence[nn.Module], width: int) -> Any:
        return [torch.tanh for _ in layers]


@dataclass(frozen=True)
class Widening:
    def apply(self, layers: Sequence[nn.Module], width: int) -> Any:
        return [*layers[:-1], nn.Linear(width + 1, 3)]


@dataclass(frozen=True)
class ApplyRaises:
    def apply(self, layers: Sequence[nn.Module], width: int) -> Any:
        return [layer.weight.nothing for layer in layers]  # pyright: ignore


# -------------------------------------------------------------------------------------------------------------- fields


class Valued(nn.Module):
    """A sound signal."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 3))
        self.left = WORKS

    def values(self, x: Tensor) -> Any:
        return x @ self.weight


@dataclass(frozen=True)
class Offerless:
    def build(self) -> Any:
        return nn.Linear(2, 3)


class ParameterlessModule(nn.Module):
    def values(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 3)


Parameterless = building(ParameterlessModule)


class NarrowModule(Valued):
    def values(self, x: Tensor) -> Any:
        return super().values(x)[:, :2]


Narrow = building(NarrowModule)


class HalfModule(Valued):
    def values(self, x: Tensor) -> Any:
        return super().values(x).half()


Half = building(HalfModule)


class LateFieldModule(Valued):
    def values(self, x: Tensor) -> Any:
        self.left -= 1
        return super().values(x) if self.left > 0 else self.nothing


LateField = building(LateFieldModule)


class AbruptModule(Valued):
    """Unpacks what has not as many parts, which Python tells by a ValueError."""

    def values(self, x: Tensor) -> Any:
        if len(x) == 4:
            a, b = x
            return a @ b
        return super().values(x)


Abrupt = building(AbruptModule)


class Glowing(nn.Module):
    """A sound radiance field."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3))

    def density(self, x: Tensor) -> Any:
        return (x @ self.weight).square().sum(-1), x

    def rgb(self, features: Tensor, viewdirs: Tensor) -> Any:
        return torch.sigmoid(features @ self.weight)


class LonelyModule(Glowing):
    def density(self, x: Tensor) -> Any:
        return super().density(x)[0]


Lonely = building(LonelyModule)


class GreyModule(Glowing):
    def rgb(self, features: Tensor, viewdirs: Tensor) -> Any:
        return super().rgb(features, viewdirs)[:, :1]


Grey = building(GreyModule)


class NormalModule(Glowing):
    def rgb(self, features: Tensor, viewdirs: Tensor, normals: Tensor) -> Any:  # pyright: ignore
        return super().rgb(features, viewdirs)


Normal = building(NormalModule)


# ----------------------------------------------------------------------------------------------------------- renderers


class Direct(nn.Module):
    """A sound renderer of points."""

    left = WORKS

    def check(self, field: Any, items: type) -> None:
        if items is not Points:
            raise ValueError("takes points")

    def render(self, field: Any, items: Any, *, background: Any, generator: Any) -> Any:
        return Rendered(field.values(items.positions))

    def max_batch(self, wanted: int) -> Any:
        return wanted

    def update(self, field: Any, step: int, generator: Any) -> None:
        return


RendererOf = building(Direct)


class RenderlessModule(nn.Module):
    def check(self, field: Any, items: type) -> None:
        return


Renderless = building(RenderlessModule)


class OldModule(Direct):
    def render(self, field: Any, items: Any, background: Any) -> Any:  # pyright: ignore
        return Rendered(field.values(items.positions))


Old = building(OldModule)


class UnrenderedModule(Direct):
    def render(self, field: Any, items: Any, *, background: Any, generator: Any) -> Any:
        return field.values(items.positions)


Unrendered = building(UnrenderedModule)


class AcrossModule(Direct):
    def render(self, field: Any, items: Any, *, background: Any, generator: Any) -> Any:
        return Rendered(field.values(items.positions).T)


Across = building(AcrossModule)


class TakenModule(Direct):
    def render(self, field: Any, items: Any, *, background: Any, generator: Any) -> Any:
        values = field.values(items.positions)
        return Rendered(values, losses={"psnr_batch": values.sum(dim=-1)})


Taken = building(TakenModule)


class RenderRaisesModule(Direct):
    def render(self, field: Any, items: Any, *, background: Any, generator: Any) -> Any:
        return items.nothing


RenderRaises = building(RenderRaisesModule)


class LateRendererModule(Direct):
    def update(self, field: Any, step: int, generator: Any) -> None:
        if step == 2:
            raise KeyError("third step")


LateRenderer = building(LateRendererModule)


class LateBatchModule(Direct):
    def max_batch(self, wanted: int) -> Any:
        self.left -= 1
        return wanted if self.left > 3 else None


LateBatch = building(LateBatchModule)


# -------------------------------------------------------------------------------------------------------- ray samplers


class Unit(nn.Module):
    """A sound ray sampler: one interval on each ray."""

    def sample(self, rays: Rays, query: Any, generator: Any) -> Any:
        n = len(rays)
        return Samples(torch.full((n,), 1.0), torch.full((n,), 2.0), torch.arange(n), n)

    def losses(self, samples: Samples, weights: Tensor) -> Any:
        return {}

    def max_batch(self, wanted: int) -> Any:
        return wanted

    def update(self, query: Any, step: int, generator: Any) -> None:
        return


@dataclass(frozen=True)
class Contextual:
    def build(self, context: RunContext) -> Any: ...


@dataclass(frozen=True)
class Sampleless:
    def build(self) -> Any:
        return nn.Identity()


class PairModule(Unit):
    def sample(self, rays: Rays, query: Any, generator: Any) -> Any:
        return torch.ones(len(rays)), torch.ones(len(rays))


Pair = building(PairModule)


class DescendingModule(Unit):
    def sample(self, rays: Rays, query: Any, generator: Any) -> Any:
        samples = super().sample(rays, query, generator)
        return Samples(samples.t_starts, samples.t_ends, samples.ray_indices.flip(0), len(rays))


Descending = building(DescendingModule)


class UpdateModule(Unit):
    def update(self, step: int) -> None:  # pyright: ignore
        return


Update = building(UpdateModule)


class LossesModule(Unit):
    def losses(self, samples: Samples, weights: Tensor) -> Any:
        return None


Losses = building(LossesModule)


class SampleRaisesModule(Unit):
    def sample(self, rays: Rays, query: Any, generator: Any) -> Any:
        return rays.nothing  # pyright: ignore


SampleRaises = building(SampleRaisesModule)


class LateSamplerModule(Unit):
    left = 6

    def sample(self, rays: Rays, query: Any, generator: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            return [][3]
        return super().sample(rays, query, generator)


LateSampler = building(LateSamplerModule)


# -------------------------------------------------------------------------------------------------------------- cameras


@dataclass(frozen=True)
class Flat:
    n_parameters: ClassVar[int] = 0

    def project(self, points: Tensor, parameters: Tensor) -> Any:
        return points

    def unproject(self, plane: Tensor, parameters: Tensor) -> Any:
        return None, plane


@dataclass(frozen=True)
class CameraRaises(Flat):
    def unproject(self, plane: Tensor, parameters: Tensor) -> Any:
        return {}["direction"]


@dataclass(frozen=True)
class Countless:
    def project(self, points: Tensor, parameters: Tensor) -> Any: ...
    def unproject(self, plane: Tensor, parameters: Tensor) -> Any: ...


@dataclass(frozen=True)
class Unprojecting:
    n_parameters: ClassVar[int] = 0

    def project(self, points: Tensor) -> Any: ...
    def unproject(self, plane: Tensor, parameters: Tensor) -> Any: ...


@dataclass(frozen=True)
class Photographs:
    """A sound data set of one grey photograph, seen through a camera model."""

    default_field: ClassVar[str] = "radiance"
    default_renderer: ClassVar[str] = "volume"
    lens: str = "flat"

    def build(self) -> Any:
        return PhotographsData(self.lens)


class PhotographsData:
    n_items, splits, surface = 12, (), None

    def __init__(self, lens: str):
        pose = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 3.0))
        self.camera = Camera(pose, 3, 4, 4.0, 4.0, 2.0, 1.5, lens, (), camera_model(lens, Registry()))
        self.domain = Domain("views", Aabb.of([-1.0] * 3, [1.0] * 3), 3, self.camera)

    def batch(self, indices: Tensor, generator: Any) -> Any:
        grey = torch.full((len(indices), 3), 0.5)
        return Batch(self.camera.items(indices), grey, grey, indices)

    def views(self, split: str) -> Any:
        return []

    def notes(self) -> Any:
        return []


# ----------------------------------------------------------------------------------------------------------- operators


class Same:
    """A sound operator."""

    n_places: Any = 1
    left = WORKS

    def places(self, items: Any) -> Any:
        return items

    def measure(self, values: Tensor, items: Any) -> Any:
        return values


Operated = building(Same)


@dataclass(frozen=True)
class OperatorWants:
    def build(self, field: Any) -> Any: ...


class PlacelessOperator:
    def places(self, items: Any) -> Any:
        return items

    def measure(self, values: Tensor, items: Any) -> Any:
        return values


Placeless = building(PlacelessOperator)


class HalvingOperator(Same):
    def measure(self, values: Tensor, items: Any) -> Any:
        return values[::2]


Halving = building(HalvingOperator)


class TextOperator(Same):
    def measure(self, values: Tensor, items: Any) -> Any:
        return "measured"


Text = building(TextOperator)


class ManyOperator(Same):
    n_places = 3


Many = building(ManyOperator)


class ChannelOperator(Same):
    def measure(self, values: Tensor, items: Any) -> Any:
        return values[:, :1]


Channel = building(ChannelOperator)


class PlacesRaisesOperator(Same):
    def places(self, items: Any) -> Any:
        return items.nothing


PlacesRaises = building(PlacesRaisesOperator)


class LateOperatorWorking(Same):
    def measure(self, values: Tensor, items: Any) -> Any:
        self.left -= 1
        return values if self.left > 0 else values / {}["scale"]


LateOperator = building(LateOperatorWorking)


class ShrinkingOperator(Same):
    """Measures one too few in training alone."""

    def measure(self, values: Tensor, items: Any) -> Any:
        return values[1:] if values.requires_grad else values


Shrinking = building(ShrinkingOperator)


# ----------------------------------------------------------------------------------------------------------- data sets


class Waves:
    """A sound data set: a small image."""

    n_items: Any = 96
    splits: Any = ()
    surface: Any = None
    left = WORKS

    def __init__(self) -> None:
        self.grid = SignalGrid.of((8, 12))
        self.domain: Any = Domain("image", Aabb.of([-1.0, -1.0], [1.0, 1.0]), 3, self.grid)
        self.targets = torch.rand(96, 3, generator=torch.Generator().manual_seed(0))

    def batch(self, indices: Tensor, generator: Any) -> Any:
        return Batch(self.grid.items(indices), self.targets[indices], None, indices)

    def views(self, split: str) -> Any:
        return [View("waves", self.grid, self.targets, None)]

    def notes(self) -> Any:
        return []


@dataclass(frozen=True)
class Image:
    default_field: ClassVar[str] = "signal"
    default_renderer: ClassVar[str] = "direct"

    def build(self) -> Any:
        return Waves()


@dataclass(frozen=True)
class DataWants(Image):
    def build(self, folder: Path) -> Any: ...  # pyright: ignore


@dataclass(frozen=True)
class DataRaises(Image):
    def build(self) -> Any:
        return {}["file"]


@dataclass(frozen=True)
class DataNone(Image):
    def build(self) -> Any:
        return None


@dataclass(frozen=True)
class Homeless(Image):
    default_field: ClassVar[str] = "nothing_of_the_kind"


@dataclass(frozen=True)
class Metrical(Image):
    default_metrics: ClassVar[str] = "psnr"


@dataclass(frozen=True)
class Unmeasured(Image):
    default_metrics: ClassVar[tuple[str, ...]] = ("psnr", "beauty")


class DomainlessData:
    n_items, splits, surface = 96, (), None

    def batch(self, indices: Tensor, generator: Any) -> Any: ...
    def views(self, split: str) -> Any: ...
    def notes(self) -> Any: ...


Domainless = building(DomainlessData, Image)


class EmptyData(Waves):
    n_items = 0


Empty = building(EmptyData, Image)


class CountedData(Waves):
    n_items = torch.tensor(96)


Counted = building(CountedData, Image)


class LongData(Waves):
    def batch(self, indices: Tensor, generator: Any) -> Any:
        whole = super().batch(indices, generator)
        return Batch(whole.items, torch.cat([whole.targets, whole.targets]), None, indices)


Long = building(LongData, Image)


class FixedData(Waves):
    """Gives one item, however many are asked for."""

    def batch(self, indices: Tensor, generator: Any) -> Any:
        return super().batch(indices[:1], generator)


Fixed = building(FixedData, Image)


class DoubleData(Waves):
    def batch(self, indices: Tensor, generator: Any) -> Any:
        return Batch(self.grid.items(indices), self.targets[indices].double(), None, indices)


DoubleTargets = building(DoubleData, Image)


class SolidData(Waves):
    def __init__(self) -> None:
        super().__init__()
        self.domain = Domain("image", Aabb.of([-1.0] * 3, [1.0] * 3), 3)


Solid = building(SolidData, Image)


class PointlessData(Waves):
    def __init__(self) -> None:
        super().__init__()
        self.domain = Domain("image", Aabb.of([-1.0, 1.0], [1.0, 1.0]), 3)


Pointless = building(PointlessData, Image)


class StrangeGrid(SignalGrid):
    def describe(self) -> Any:
        return {"kind": "hexagons"}


class HexagonalData(Waves):
    def __init__(self) -> None:
        super().__init__()
        self.domain = Domain("image", Aabb.of([-1.0, -1.0], [1.0, 1.0]), 3, StrangeGrid.of((8, 12)))


Hexagonal = building(HexagonalData, Image)


class UnseenData(Waves):
    def views(self, split: str) -> Any:
        return None


@dataclass(frozen=True)
class Unseen(Image):
    default_metrics: ClassVar[tuple[str, ...]] = ("psnr",)

    def build(self) -> Any:
        return UnseenData()


class CroppedData(Waves):
    def views(self, split: str) -> Any:
        return [View("cropped", self.grid, self.targets[:90], None)]


Cropped = building(CroppedData, Unseen)


class ViewsRaiseData(Waves):
    def views(self, split: str) -> Any:
        return {}[split]


ViewsRaise = building(ViewsRaiseData, Unseen)


class NotedData(Waves):
    def notes(self) -> Any:
        return None


Noted = building(NotedData, Image)


class LateData(Waves):
    def batch(self, indices: Tensor, generator: Any) -> Any:
        self.left -= 1
        return super().batch(indices if self.left > 2 else indices + 96, generator)


LateImage = building(LateData, Image)


class ShortData(Waves):
    """Forgets an item in training alone."""

    def batch(self, indices: Tensor, generator: Any) -> Any:
        return super().batch(indices if len(indices) < 10 else indices[1:], generator)


Short = building(ShortData, Image)


# -------------------------------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True)
class Mae:
    """A sound metric, of which the broken ones change a part."""

    needs: ClassVar[str] = "signal"
    higher_is_better: ClassVar[bool] = False

    def score(self, values: Tensor, target: Tensor) -> Any:
        return float((values - target).abs().mean())


@dataclass(frozen=True)
class Tensorial(Mae):
    def score(self, values: Tensor, target: Tensor) -> Any:
        return (values - target).abs().mean()


@dataclass(frozen=True)
class Worded(Mae):
    def score(self, values: Tensor, target: Tensor) -> Any:
        return "0.93"


@dataclass(frozen=True)
class Keyed(Mae):
    """Sound, if its key is written."""

    key: int  # pyright: ignore


@dataclass(frozen=True)
class Needless:
    def score(self, values: Tensor, target: Tensor) -> Any: ...


@dataclass(frozen=True)
class Needy(Mae):
    needs: ClassVar[str] = "sound"


@dataclass(frozen=True)
class Masked(Mae):
    def score(self, values: Tensor, target: Tensor, mask: Tensor) -> Any: ...  # pyright: ignore


@dataclass(frozen=True)
class ScoreRaises(Mae):
    def score(self, values: Tensor, target: Tensor) -> Any:
        return values.nothing


@dataclass(frozen=True)
class ObstacleRaises(Mae):
    def score(self, values: Tensor, target: Tensor) -> Any:
        return 0.0

    def obstacle(self, shape: Any, channels: int) -> Any:
        return {}[channels]


@dataclass(frozen=True)
class LateScore(Mae):
    """Fails for images as large as the data's."""

    def score(self, values: Tensor, target: Tensor) -> Any:
        return values[0, 11].nothing if values.shape[0] > 8 else 0.0


# ---------------------------------------------------------------------------------------------------------------- hooks


class Uniform:
    """A sound hook."""

    def __init__(self, n_items: int):
        self.n_items = n_items

    def select(self, step: int, n: int, scores: Any) -> Any:
        return torch.arange(n) % self.n_items


@dataclass(frozen=True)
class HookWants:
    def build(self, banana: int) -> Any: ...


@dataclass(frozen=True)
class HookNone:
    def build(self) -> Any:
        return None


@dataclass(frozen=True)
class HookRaises:
    def build(self, n_items: int) -> Any:
        return n_items / 0


class OldUniform(Uniform):
    def select(self, step: int, n: int) -> Any:  # pyright: ignore
        return torch.arange(n)


OldHook = hook(OldUniform)


class Transform:
    """A sound gradient transform."""

    span: Any = "item"

    def prepare(self, step: int, field: Any, batch: Any) -> Any:
        return None

    def adjust(self, cotangent: Tensor, batch: Any, rendered: Any, rows: slice) -> Any:
        return cotangent


class RowlessTransform(Transform):
    def adjust(self, cotangent: Tensor, batch: Any, rendered: Any) -> Any:  # pyright: ignore
        return cotangent


Rowless = building(RowlessTransform)


class WideTransform(Transform):
    span = "world"


Wide = building(WideTransform)


class TransposedTransform(Transform):
    def adjust(self, cotangent: Tensor, batch: Any, rendered: Any, rows: slice) -> Any:
        return cotangent.T


Transposed = building(TransposedTransform)


class Penalty:
    points: Any = NearSamples(4)

    def penalty(self, step: int, field: Any, points: Tensor) -> Any:
        return float(points.sum())


Numbered = building(Penalty)


class EverywherePenalty(Penalty):
    points = "everywhere"


Everywhere = building(EverywherePenalty)


class LateUniform(Uniform):
    def select(self, step: int, n: int, scores: Any) -> Any:
        return super().select(step, n, scores) if step < 2 else {}[step]


LateHook = hook(LateUniform)


class FarUniform(Uniform):
    def select(self, step: int, n: int, scores: Any) -> Any:
        return super().select(step, n, scores) + self.n_items


Far = hook(FarUniform)


class AskingUniform(Uniform):
    """Sound itself; it asks how well items are fitted now."""

    def select(self, step: int, n: int, scores: Any) -> Any:
        scores.residuals(torch.arange(n) % self.n_items)
        return super().select(step, n, scores)


Asking = hook(AskingUniform)


class StatefulUniform(Uniform):
    def state_dict(self) -> Any:
        return {"seen": {1, 2}}

    def load_state_dict(self, state: Any) -> None:
        return


Stateful = hook(StatefulUniform)


class UnloadableUniform(Uniform):
    def state_dict(self) -> Any:
        return {"seen": 1}

    def load_state_dict(self, state: Any) -> None:
        self.seen = state["forgotten"]


Unloadable = hook(UnloadableUniform)


class HalfStateUniform(Uniform):
    def state_dict(self) -> Any:
        return {}


HalfState = hook(HalfStateUniform)


# ----------------------------------------------------------------------------------------------------------- exporters


@dataclass(frozen=True)
class ExportNone:
    def write(self, trained: Any, out: Path) -> Any:
        out.write_text("done")


@dataclass(frozen=True)
class ExportWants:
    def write(self, trained: Any, folder: Path) -> Any: ...


@dataclass(frozen=True)
class ExportRaises:
    def write(self, trained: Any, out: Path) -> Any:
        return trained.mesh.vertices


@dataclass(frozen=True)
class ExportRefuses:
    def write(self, trained: Any, out: Path) -> Any:
        raise ValueError("needs a moving field")
