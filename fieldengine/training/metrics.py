"""Scores of a trained field on its data: of its pictures, as `picture_scores` names them, and of its solid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from torch import nn

from fieldengine.errors import TrainingError
from fieldengine.export.isosurface import POINTS, solid
from fieldengine.export.mesh import extract
from fieldengine.protocols import Dataset, Shape, Trained
from fieldengine.rendering.picture import render_picture
from fieldengine.training.picture_scores import PICTURE_SCORES, USUAL, obstacle, score_parts, score_picture
from fieldengine.types import Aabb, View

IOU_POINTS = 200_000
SURFACE_POINTS = 30_000
CHAMFER_RESOLUTION = 128
LESS_IS_BETTER = {
    **{name: score.less_is_better for name, score in PICTURE_SCORES.items()},
    "iou": False,
    "chamfer": True,
    "normal_consistency": False,
}


def score_of(key: str) -> str | None:
    """The score that a key of a run's metrics names, psnr of `test_psnr` or `hidden_psnr`; None where there is none."""
    found = re.fullmatch(rf"((train|val|test)_)?((hidden|observed)_)?({'|'.join(LESS_IS_BETTER)})", key)
    return found[5] if found else None


def score_views(trained: Trained, views: Sequence[View], names: Sequence[str] = USUAL) -> dict[str, float]:
    """Mean over views of each view's scores of these names (`fieldengine.training.picture_scores`).

    Where a view has hidden pixels, `hidden_psnr` and `observed_psnr` are of the two parts of it.
    """
    each = []
    for view in views:
        picture = render_picture(
            trained.field, trained.renderer, trained.domain, view.sensor, background=view.background
        )
        target = view.target.cpu().view(picture.values.shape)
        scores = score_picture(picture.values, target, names)
        if view.hidden is not None:
            scores |= score_parts(picture.values, target, view.hidden.cpu().view(target.shape[:2]), names)
        each.append(scores)
    found = {name: [scores[name] for scores in each if name in scores] for name in dict.fromkeys(chain(*each))}
    return {name: sum(values) / len(values) for name, values in found.items()}


@torch.no_grad()
def score_shape(trained: Trained, shape: Shape, seed: int = 0) -> dict[str, float]:
    """How well a field's solid agrees with a reference.

    Returns:
        iou: volume of intersection over union, from points spread evenly in the box.
        chamfer: mean distance between the surfaces, both directions averaged, in longest edges of the box (lower is
            better).
        normal_consistency: mean |n . n'| at closest points, both directions averaged.
        The last two are missing where the field has no surface yet.
    """
    from fieldengine.data.shape import MeshShape  # libigl is needed for solids alone

    aabb = trained.domain.aabb
    scores = {"iou": iou(trained.field, shape, aabb, seed)}
    try:
        mesh = extract(trained, CHAMFER_RESOLUTION)
    except TrainingError:
        return scores
    ours = MeshShape(np.asarray(mesh.vertices), np.asarray(mesh.faces))
    distances, agreement = [], []
    for source, target in ((ours, shape), (shape, ours)):
        points, normals = source.surface(SURFACE_POINTS, seed)
        distance, there = target.closest(points)
        distances.append(float(distance.mean()))
        agreement.append(float((normals * there).sum(-1).abs().mean()))
    scores["chamfer"] = 0.5 * sum(distances) / float(aabb.size.max())
    scores["normal_consistency"] = 0.5 * sum(agreement)
    return scores


def iou(field: nn.Module, shape: Shape, aabb: Aabb, seed: int) -> float:
    """Intersection over union of two solids from IOU_POINTS even points of the box; 1 where both are empty."""
    random = torch.Generator().manual_seed(seed)
    x = aabb.lower + torch.rand(IOU_POINTS, 3, generator=random).to(aabb.lower) * aabb.size
    inside, _ = solid(field, aabb)
    ours = torch.cat([inside(part) > 0 for part in x.split(POINTS)])
    theirs = shape.inside(x)
    union = int((ours | theirs).sum())
    return int((ours & theirs).sum()) / union if union else 1.0


def evaluate(
    trained: Trained,
    dataset: Dataset,
    splits: Sequence[str],
    max_views: int | None = None,
    names: Sequence[str] = USUAL,
) -> dict[str, float]:
    """All scores of a trained field on its data, as flat keys.

    `names` are those of pictures, such as `psnr`; they are of the first split that has pictures. Where a data set holds
    splits out, `test_psnr` and the like name theirs.
    """
    scores: dict[str, float] = {}
    for split in splits:
        views = dataset.views(split)
        if not views:
            continue
        if max_views is not None and len(views) > max_views:
            views = [views[round(i * (len(views) - 1) / max(max_views - 1, 1))] for i in range(max_views)]
        found = score_views(trained, views, names)
        if trained.domain.task == "views":
            scores.update({f"{split}_{name}": value for name, value in found.items()})
        scores = {**found, **scores}
    if dataset.shape is not None:
        scores.update(score_shape(trained, dataset.shape))
    return scores


def why_not(names: Sequence[str], dataset: Dataset, splits: Sequence[str]) -> str:
    """Why a metric of these names cannot be computed of a data set's pictures; empty where all can be.

    The usual ones always can: whoever names none gets those that his pictures are large enough for. A run folder writes
    defaults out, so that they look as if they were named.
    """
    if tuple(names) == USUAL:
        return ""
    for split in splits:
        views = dataset.views(split)
        for height, width, channels in sorted({(v.sensor.height, v.sensor.width, v.target.shape[-1]) for v in views}):
            for name in names:
                reason = obstacle(name, height, width, channels)
                if reason:
                    return f"{name} {reason}"
    return ""
