"""A radiance field: density, and colour that depends on the direction it is seen from."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.fields.box import ToUnit
from fieldengine.fields.mlp import MLP
from fieldengine.kinds.activation import Activation
from fieldengine.kinds.encoding import EncodingOptions
from fieldengine.kinds.kind import Slot
from fieldengine.kinds.parameterization import Parameterization
from fieldengine.ops import takes_surrogate
from fieldengine.types import Aabb

HIGHEST = 80.0  # logarithm of the densest that a float32 holds without infinities in sums


@dataclass(frozen=True)
class Radiance:
    """Density and view-dependent colour in space (NeRF)."""

    encoding: EncodingOptions
    """what positions become before the density MLP"""
    direction_encoding: Annotated[EncodingOptions, Slot("spherical_harmonics")]
    """what viewing directions become before the colour MLP"""
    activation: Activation
    """makes the layers of both MLPs"""
    parameterization: Parameterization | None = None
    """how layers of both MLPs hold their weights"""
    width: Annotated[int, Field(ge=1)] = 64
    """units of a hidden layer"""
    depth: Annotated[int, Field(ge=0, le=1000)] = 1
    """activated layers of the density MLP"""
    color_depth: Annotated[int, Field(ge=0, le=1000)] = 2
    """activated layers of the colour MLP"""
    features: Annotated[int, Field(ge=1)] = 15
    """numbers that the density MLP hands to the colour MLP"""
    density: Literal["exp", "softplus", "relu"] = "exp"
    """what makes density positive; exp is truncated where its gradient would overflow"""
    density_shift: float = -1.0
    """added to the raw density; below zero starts the scene nearly empty"""

    def build(self, *, in_dim: int, out_dim: int, aabb: Aabb) -> nn.Module:
        if in_dim != 3 or out_dim != 3:
            raise ValueError(f"a radiance field maps 3-D positions to 3 colours; the data has {in_dim} and {out_dim}")
        return RadianceNetwork(self, aabb)


class RadianceNetwork(nn.Module):
    def __init__(self, options: Radiance, aabb: Aabb):
        super().__init__()
        self.to_unit = ToUnit(aabb)
        self.shift = options.density_shift
        self.positive = {"exp": self._exp, "softplus": nn.functional.softplus, "relu": torch.relu}[options.density]
        self.encoding = options.encoding.build(3)
        self.direction_encoding = options.direction_encoding.build(3)
        mlp = functools.partial(
            MLP, width=options.width, activation=options.activation, parameterization=options.parameterization
        )
        self.base = mlp(self.encoding.out_dim, 1 + options.features, depth=options.depth)
        self.head = mlp(options.features + self.direction_encoding.out_dim, 3, depth=options.color_depth)

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(m, 3) in own coordinates -> sigma (m,) >= 0 per unit of length, features (m, f). Carries gradient."""
        unit = self.to_unit(x)
        h = self.base(self.encoding(unit))
        sigma = self.positive(h[:, 0] + self.shift)
        inside = (unit.detach().abs() <= 1.0).all(dim=-1)
        return torch.where(inside, sigma, torch.zeros_like(sigma)), h[:, 1:]

    def _exp(self, x: Tensor) -> Tensor:
        return TruncatedExp.apply(x) if takes_surrogate(self) else torch.exp(x.clamp(max=HIGHEST))

    def rgb(self, features: Tensor, viewdirs: Tensor, normals: Tensor | None = None) -> Tensor:
        """Features (m, f) and unit directions (m, 3) -> colour (m, 3) in [0, 1]. Carries gradient; ignores normals."""
        return torch.sigmoid(self.head(torch.cat([features, self.direction_encoding(viewdirs)], dim=-1)))

    def forward(self, x: Tensor) -> Tensor:
        """Density alone, (m, 3) -> (m,)."""
        return self.density(x)[0]


class TruncatedExp(torch.autograd.Function):
    """exp(x) whose gradient stops growing at x = 15 (instant-ngp), so that one wild sample cannot undo a training."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.exp(x.clamp(max=HIGHEST))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * torch.exp(x.clamp(max=15.0))
