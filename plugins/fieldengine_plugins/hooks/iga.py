"""Inductive gradient adjustment: directions that the kernel learns slowly get a larger share of every step."""

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
    groups of p neighbours; K is the empirical tangent kernel of one representative per group. At position i of all
    groups S g is back-propagated instead of g = dL/d(values), their eqs. 8 and 9, with eigenpairs (l_i, v_i) of K:
      adam  S = I - sum over i <= e of (1 - l_e+1 / l_i) v_i v_i' shrinks what is learned fast; Adam's normalisation
            then enlarges the rest
      sgd   S = I + sum over i <= e of (l_1 / l_i - 1) v_i v_i', at most 1000-fold
    Groups of pixels are patches of the image, including incomplete ones at its border. Groups of points, and of pixels
    if a mask hides some, are runs of patch^2 neighbours along a space-filling curve (Z-order). Groups of rays are
    patch^2 neighbours by their heaviest samples; `patch: 1` treats each ray by itself, as published. With c channels K
    is that of their sum over sqrt(c); for a sample on a ray, that of its colour and opacity. Rays that hit nothing,
    rays left over from whole groups, and tiles of rays with too few groups for e are not adjusted. Groups of rays are
    formed within a tile, so `training.tile` matters; those of pixels and points within the whole step: the larger its
    batch, the better.

    The published code drops pixels beyond whole patches, builds K from per-sample Jacobians, and takes for each patch
    of an image the sum over the n pixels at all groups' positions (an index error; `group_sum` is the sum over all
    pixels of the group). Here tiles hold the same positions of all groups, so one pass is enough. The published tables
    use Adam with a rate of 1e-3 for siren, and 5e-3 for relu, plain and behind frequencies.

    Scene: `training: {batch_size: full, hooks: [{type: iga, balanced: 20, patch: 32}]}`
    """

    balanced: Annotated[int, Field(ge=0)] = 20
    """e, the number of eigenvalues set equal to the next one, with form: sgd to the largest; 0 changes nothing"""
    patch: Annotated[int, Field(ge=1)] | None = None
    """pixels per side of a group; points and rays form groups of patch^2; null is 32, for points 8, for rays 2"""
    representative: Representative = "previous"
    """which pixel represents its patch. previous: the one with the largest residual in the step before, at no cost;
    residual: in this step, one more forward pass; centre: the middle one; group_sum: all of them, their gradients
    summed, at as many times the cost and memory. For rays, the one with the largest residual, or the middle one; for
    points, the middle one"""
    form: Form = "adam"
    """the optimiser that S is made for; the engine's is Adam"""
    refresh: Annotated[int, Field(ge=1)] = 1
    """steps for which K of an image is reused; other groups change with every step"""

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
