"""Metrics: how far what a field shows is from its data, as one number."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import described


class Metric(Protocol):
    """Options of a metric, which is used as it is. It offers `score` as `needs` says.

    Attributes:
        needs: `image`, values and target (h, w, c) of a view; `signal`, the same of a view of any dimension, (..., c);
            `surface`, a `fieldengine.metrics.surface.Comparison` of the fitted surface with a reference.
        higher_is_better: as of similarities; false for distances and errors.

    A metric of images or signals may also have `pixelwise: ClassVar[bool]`: some of a view's values (n, c) may then be
    scored as well, as the hidden ones of a mask; and `obstacle(shape, channels)`, why it cannot be computed of views
    that large, and what to do about it: empty where it can.
    """

    needs: ClassVar[str]
    higher_is_better: ClassVar[bool]

    score: Any


class ImageMetric(Protocol):
    """A metric of images or signals: 0 is black and 1 is white in images; values may leave [0, 1]."""

    def score(self, values: Tensor, target: Tensor) -> float: ...


OFFERED: dict[str, tuple[str, ...]] = {  # to `score`, by what a metric needs
    "image": ("values", "target"),
    "signal": ("values", "target"),
    "surface": ("comparison",),
}


def check_class(cls: type[Any]) -> None:
    """Raise PluginError where a metric has unknown needs, or its score asks for what they do not offer."""
    if cls.needs not in OFFERED:
        raise PluginError(f'expected needs to be "image", "signal" or "surface", found {cls.needs!r}')
    offers = OFFERED[cls.needs]
    wanted = [name for name in inspect.signature(cls.score).parameters if name in ("values", "target", "comparison")]
    strange = [name for name in wanted if name not in offers]
    if strange:
        raise PluginError(
            f"{cls.score.__qualname__} asks for {', '.join(strange)}; to a metric that needs a {cls.needs} the engine "
            f"offers {', '.join(offers)}"
        )


def check_score(found: Any, known: Mapping[str, Any]) -> None:
    if found is None and "comparison" in known:  # a field may have no surface yet
        return
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise PluginError(f"expected score to return a number, found {described(found)}")


def check_metric(metric: Any) -> None:
    """Raise PluginError where a metric cannot tell an image from another as it says, if it takes such images."""
    obstacle = getattr(metric, "obstacle", None)
    if metric.needs == "surface" or (obstacle and obstacle((192, 192), 3)):
        return
    random = torch.Generator().manual_seed(0)
    target = torch.rand(192, 192, 3, generator=random)
    noisy = (target + 0.2 * torch.randn(192, 192, 3, generator=random)).clamp(0, 1)
    same, other = metric.score(target, target), metric.score(noisy, target)
    if (same > other) != metric.higher_is_better:
        raise PluginError(
            f"expected an equal image to score better than a noisy one; higher_is_better is {metric.higher_is_better}, "
            f"but the scores are {same:.4g} and {other:.4g}"
        )


KIND = Kind(
    group="metrics",
    word="metric",
    options=Metric,
    verbs={"score": Verb(("values", "target", "comparison"), (), check_score)},
    constants={"needs": str, "higher_is_better": bool},
    check_class=check_class,
)
