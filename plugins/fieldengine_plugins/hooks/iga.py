"""Inductive gradient adjustment: directions that the kernel learns slowly get their share of every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import UNCHANGED, Batch, Domain, Order, Rendered, RunContext
from fieldengine_plugins.hooks.balancing import Balancing, Form
from fieldengine_plugins.hooks.neighbours import SpaceGroups
from fieldengine_plugins.hooks.patches import ImageGroups, Representative

SIDE, SIDE_OF_POINTS, SIDE_OF_RAYS = 32, 8, 2


@dataclass(frozen=True)
class Iga:
    """Multiplies the residuals by a matrix that evens out the kernel's largest eigenvalues, IGA.

    Shi et al. 2025, Inductive Gradient Adjustment for Spectral Bias in Implicit Neural Representations. Items form n
    groups of p neighbours; K is the empirical tangent kernel of one representative of each. What back-propagates at
    position i of all groups is S g instead of g = dL/d(values), their eqs. 8 and 9, with eigenpairs (l_i, v_i) of K:
      adam  S = I - sum over i <= e of (1 - l_e+1 / l_i) v_i v_i' shrinks what is learned fast; Adam's normalisation
            then enlarges the rest
      sgd   S = I + sum over i <= e of (l_1 / l_i - 1) v_i v_i', at most 1000 fold
    Groups are patches of an image, incomplete ones at its border included; runs of patch^2 neighbours along a curve
    that fills space (Z-order), for points, and for pixels where a mask hides some; and as many neighbouring rays by
    their heaviest samples, `patch: 1` for each ray by itself, as published. With c channels K is that of their sum over
    sqrt(c); of a sample on a ray of its colour and opacity. Rays that meet nothing, those left over from whole groups,
    and tiles of rays with too few groups for e are left as they are. Groups of rays are those of one tile, so
    that `training.tile` counts; those of pixels and points are of the whole step: the larger its batch, the better.

    Differs from the published code, which drops what a patch does not divide, builds K from per-sample Jacobians, and
    takes for each patch of an image the sum over the n pixels at all groups' positions (an index error; `group_sum` is
    the sum over all pixels of the group). Tiles hold the same positions of all groups, so one pass is enough.
    The published tables have Adam with a rate of 1e-3 for siren, and 5e-3 for relu, plain and behind frequencies.

    Scene: `training: {batch_size: full, hooks: [{type: iga, balanced: 20, patch: 32}]}`
    """

    balanced: Annotated[int, Field(ge=0)] = 20
    """e, the eigenvalues that become equal to the next one, or with form: sgd to the largest; 0 changes nothing"""
    patch: Annotated[int, Field(ge=1)] | None = None
    """pixels a side of a group; points in space and rays form groups of patch^2; null is 32, of points 8, of rays 2"""
    representative: Representative = "previous"
    """which pixel stands for its patch. previous: that with the largest residual in the step before, which is free;
    residual: in this step, one more forward pass; centre: the middle one; group_sum: all of them, their gradients
    summed, at as many times the cost and memory. Of rays the one with the largest residual, or the middle one; of
    points the middle one"""
    form: Form = "adam"
    """for which optimiser; the engine's is Adam"""
    refresh: Annotated[int, Field(ge=1)] = 1
    """steps for which an image's K serves; other groups change with every step"""

    def build(self, *, field: nn.Module, domain: Domain, n_items: int, context: RunContext) -> Any:
        if self.balanced == 0:
            return NothingBalanced()
        balancing = Balancing(field, context, self.balanced, self.form)
        if domain.image_shape(n_items) is not None:
            return ImageGroups(balancing, domain, self.patch or SIDE, self.representative, self.refresh)
        if self.representative == "group_sum":
            raise ValueError("group_sum is for patches of an image; take previous, residual or centre")
        side = SIDE if domain.is_image else SIDE_OF_POINTS  # of an image that hides some of its pixels
        of_points, of_rays = (self.patch or side) ** 2, (self.patch or SIDE_OF_RAYS) ** 2
        return SpaceGroups(balancing, domain.aabb, of_points, of_rays, middle=self.representative == "centre")


class NothingBalanced:
    """Adjusts nothing."""

    span: Literal["item"] = "item"

    def prepare(self, step: int, field: nn.Module, batch: Batch) -> Order:
        return UNCHANGED

    def adjust(self, cotangent: Tensor, batch: Batch, rendered: Rendered, rows: slice) -> Tensor:
        return cotangent
