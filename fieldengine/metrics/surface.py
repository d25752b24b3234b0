"""How well a fitted surface agrees with a reference: solids, distances, normals."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from fieldengine.errors import TrainingError
from fieldengine.export.isosurface import POINTS, solid
from fieldengine.export.mesh import extract
from fieldengine.kinds.dataset import ReferenceSurface
from fieldengine.kinds.exporter import Trained

IOU_POINTS = 200_000
SURFACE_POINTS = 30_000
CHAMFER_RESOLUTION = 128


class Comparison:
    """A trained field's surface beside a reference. What several metrics look at is made once, when first asked for.

    Attributes:
        seed: of the random points.
    """

    def __init__(self, trained: Trained, reference: ReferenceSurface, seed: int = 0):
        self.trained, self.reference, self.seed = trained, reference, seed

    @functools.cached_property
    def iou(self) -> float:
        """Volume of intersection over union, from points spread evenly in the box; 1 where both solids are empty."""
        aabb = self.trained.domain.aabb
        random = torch.Generator().manual_seed(self.seed)
        x = aabb.lower + torch.rand(IOU_POINTS, 3, generator=random).to(aabb.lower) * aabb.size
        inside, _ = solid(self.trained.field, aabb)
        with torch.no_grad():
            ours = torch.cat([inside(part) > 0 for part in x.split(POINTS)])
        theirs = self.reference.inside(x)
        union = int((ours | theirs).sum())
        return int((ours & theirs).sum()) / union if union else 1.0

    @functools.cached_property
    def closest(self) -> list[tuple[Tensor, Tensor]] | None:
        """From either surface to the other, of random points: distance (n,) and |n . n'| (n,).

        None where the field has no surface yet.
        """
        from fieldengine.datasets.mesh_surface import MeshSurface  # libigl is needed for surfaces alone

        try:
            mesh = extract(self.trained, CHAMFER_RESOLUTION)
        except TrainingError:
            return None
        ours = MeshSurface(np.asarray(mesh.vertices), np.asarray(mesh.faces))
        found = []
        for source, target in ((ours, self.reference), (self.reference, ours)):
            points, normals = source.sample(SURFACE_POINTS, self.seed)
            distance, there = target.closest(points)
            found.append((distance, (normals * there).sum(-1).abs()))
        return found


@dataclass(frozen=True)
class Iou:
    """Volume of the intersection of two solids over that of their union."""

    needs: ClassVar[str] = "surface"
    higher_is_better: ClassVar[bool] = True

    def score(self, comparison: Comparison) -> float:
        return comparison.iou


@dataclass(frozen=True)
class Chamfer:
    """Mean distance between two surfaces, both directions averaged, in longest edges of the box."""

    needs: ClassVar[str] = "surface"
    higher_is_better: ClassVar[bool] = False

    def score(self, comparison: Comparison) -> float | None:
        if comparison.closest is None:
            return None
        edge = float(comparison.trained.domain.aabb.size.max())
        return 0.5 * sum(float(distance.mean()) for distance, _ in comparison.closest) / edge


@dataclass(frozen=True)
class NormalConsistency:
    """Mean |n . n'| of normals at closest points of two surfaces, both directions averaged."""

    needs: ClassVar[str] = "surface"
    higher_is_better: ClassVar[bool] = True

    def score(self, comparison: Comparison) -> float | None:
        if comparison.closest is None:
            return None
        return 0.5 * sum(float(agreement.mean()) for _, agreement in comparison.closest)
