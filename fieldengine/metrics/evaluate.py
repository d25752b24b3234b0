"""Scores of a trained field on its data: each metric on what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from fieldengine.errors import PluginError, did_you_mean
from fieldengine.kinds.dataset import Dataset, check_views
from fieldengine.kinds.exporter import Trained
from fieldengine.kinds.metric import Metric
from fieldengine.metrics.surface import Comparison
from fieldengine.plugins.guest import with_defaults
from fieldengine.plugins.registry import Registry
from fieldengine.renderers.image import render_image
from fieldengine.types import Domain, View

PARTS = ("hidden", "observed")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class NamedMetric:
    """A metric, and the name that its score has."""

    name: str
    metric: Metric


def named(metrics: Sequence[Any]) -> list[NamedMetric]:
    """The metrics of a scene under the names of their plugins."""
    return [NamedMetric(metric.plugin.name, metric) for metric in metrics]


def find_metrics(names: Sequence[str], registry: Registry) -> list[NamedMetric]:
    """Metrics by name. Raises PluginError for one that is not installed."""
    return named([with_defaults(registry.find("metrics", name), "evaluation.metrics") for name in names])


class InstalledMetrics:
    """Which scores are better when they are higher, of every metric that is installed."""

    def __init__(self, registry: Registry):
        self._registry = registry
        self.names = registry.names("metrics")

    def metric_of(self, key: str) -> str | None:
        """The metric that a key of a run's scores is of, psnr of `test_psnr` or `hidden_psnr`; None where of none."""
        for head in ("", *(f"{split}_" for split in SPLITS)):
            for part in ("", *(f"{part}_" for part in PARTS)):
                rest = key.removeprefix(head + part)
                if key == head + part + rest and rest in self.names:
                    return rest
        return None

    def higher_is_better(self, key: str) -> bool:
        """Of a score that no metric here has, it is presumed to be."""
        name = self.metric_of(key)
        if name is None:
            return True
        try:
            return self._registry.find("metrics", name).load().higher_is_better
        except PluginError:
            return True

    def unknown(self, name: str) -> str:
        """What to say of a name that is no metric."""
        return f"no such metric. Metrics: {', '.join(self.names)}.{did_you_mean(name, self.names)}"


@torch.no_grad()
def score_views(trained: Trained, views: Sequence[View], metrics: Sequence[NamedMetric]) -> dict[str, float]:
    """Mean over views of each view's scores; a metric that a view is too small for is left out.

    Where a view has hidden pixels, `hidden_psnr` and `observed_psnr`, and others likewise, are of the two parts of it.
    """
    each = []
    for view in views:
        image = render_image(trained.field, trained.renderer, trained.domain, view.grid, background=view.background)
        target = view.target.cpu().view(image.values.shape)
        scores = {one.name: one.metric.score(image.values, target) for one in metrics if not obstacle(one, view)}
        if view.hidden is not None:
            hidden = view.hidden.cpu().view(view.grid.shape)
            scores |= score_parts(image.values, target, hidden, metrics)
        each.append(scores)
    found = {name: [scores[name] for scores in each if name in scores] for name in dict.fromkeys(chain(*each))}
    return {name: sum(values) / len(values) for name, values in found.items()}


def score_parts(values: Tensor, target: Tensor, hidden: Tensor, metrics: Sequence[NamedMetric]) -> dict[str, float]:
    """Scores that are pixel by pixel, of the hidden (*shape) and of the observed pixels alone."""
    return {
        f"{part}_{one.name}": one.metric.score(values[pixels], target[pixels])
        for one in metrics
        if getattr(one.metric, "pixelwise", False)
        for part, pixels in zip(PARTS, (hidden, ~hidden), strict=True)
    }


def evaluate(
    trained: Trained,
    dataset: Dataset,
    splits: Sequence[str],
    metrics: Sequence[NamedMetric],
    max_views: int | None = None,
) -> dict[str, float]:
    """All scores of a trained field on its data, as flat keys.

    Scores of views are of the first split that has some. Where a data set holds splits apart, `test_psnr` and the like
    name theirs.
    """
    of_views = [one for one in metrics if one.metric.needs != "surface"]
    scores: dict[str, float] = {}
    for split in splits if of_views else ():
        views = views_of(dataset, split)
        if not views:
            continue
        if max_views is not None and len(views) > max_views:
            views = [views[round(i * (len(views) - 1) / max(max_views - 1, 1))] for i in range(max_views)]
        found = score_views(trained, views, of_views)
        if split in dataset.splits:
            scores.update({f"{split}_{name}": value for name, value in found.items()})
        scores = {**found, **scores}
    if dataset.surface is not None:
        comparison = Comparison(trained, dataset.surface)
        of_surfaces = [one for one in metrics if one.metric.needs == "surface"]
        found = {one.name: one.metric.score(comparison=comparison) for one in of_surfaces}
        scores.update({name: value for name, value in found.items() if value is not None})
    return scores


def views_of(dataset: Dataset, split: str) -> Sequence[View]:
    """The views of a split. Raises PluginError where one of them is broken."""
    views = dataset.views(split)
    check_views(views, dataset.domain)
    return views


def try_metrics(metrics: Sequence[NamedMetric], domain: Domain) -> None:
    """Score made-up values, so that what is wrong with a metric is found before training. Raises PluginError."""
    random = torch.Generator().manual_seed(0)
    for one in metrics:
        if one.metric.needs == "surface":
            continue
        shape = (192, 192) if one.metric.needs == "image" else (8,) * domain.aabb.dim
        if not obstacle_of(one, shape, domain.out_dim):
            values, target = torch.rand(2, *shape, domain.out_dim, generator=random)
            one.metric.score(values, target)


def why_not(metrics: Sequence[NamedMetric], dataset: Dataset, splits: Sequence[str], usual: Sequence[str]) -> str:
    """Why one of these metrics cannot be computed of a data set; empty where all can be.

    The `usual` ones of the data set always can: whoever names none gets those that his images are large enough for. A
    run folder writes defaults out, so that they look as if they were named. Raises PluginError for broken views.
    """
    of_views = [one for one in metrics if one.metric.needs != "surface"]
    views = views_by_size(dataset, splits) if of_views else []
    if [one.name for one in metrics] == list(usual):
        return ""
    of_surfaces = [one for one in metrics if one.metric.needs == "surface"]
    if of_surfaces and dataset.surface is None:
        return f"{of_surfaces[0].name} needs a reference surface, which this data set does not have. Leave it out"
    if of_views and not views and not views_by_size(dataset, SPLITS):
        return f"{of_views[0].name} needs images or signals, which this data set does not have. Leave it out"
    reasons = (f"{one.name} {reason}" for view in views for one in of_views if (reason := obstacle(one, view)))
    return next(reasons, "")


def views_by_size(dataset: Dataset, splits: Sequence[str]) -> list[View]:
    """Of all views in these splits one of each size."""
    views = chain.from_iterable(views_of(dataset, split) for split in splits)
    return list({(*view.grid.shape, view.target.shape[-1]): view for view in views}.values())


def obstacle(one: NamedMetric, view: View) -> str:
    """Why a metric cannot be computed of a view, and what to do about it; empty where it can be."""
    return obstacle_of(one, view.grid.shape, view.target.shape[-1])


def obstacle_of(one: NamedMetric, shape: tuple[int, ...], channels: int) -> str:
    """The same of a view with so many pixels and channels."""
    if one.metric.needs == "image" and len(shape) != 2:
        return f"needs images, found a signal of {len(shape)} dimensions. Leave it out"
    if one.metric.needs == "surface":
        return ""
    ask = getattr(one.metric, "obstacle", None)
    return ask(shape, channels) if ask else ""
