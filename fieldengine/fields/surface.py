"""A surface: the zero level of a signed distance, negative inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from fieldengine.fields.box import ToUnit
from fieldengine.fields.mlp import MLP
from fieldengine.kinds.activation import Activation
from fieldengine.kinds.encoding import EncodingOptions
from fieldengine.kinds.parameterization import Parameterization
from fieldengine.types import Aabb


@dataclass(frozen=True)
class Surface:
    """Signed distance to a surface, negative inside."""

    encoding: EncodingOptions
    """what positions become before the MLP"""
    activation: Activation
    """makes the layers of the MLP"""
    parameterization: Parameterization | None = None
    """how layers of the MLP hold their weights"""
    width: Annotated[int, Field(ge=1)] = 64
    """units of a hidden layer"""
    depth: Annotated[int, Field(ge=0, le=1000)] = 2
    """activated layers"""
    features: Annotated[int, Field(ge=0)] = 0
    """further numbers handed to a colour network"""

    def build(self, *, in_dim: int, out_dim: int, aabb: Aabb) -> nn.Module:
        if in_dim != 3 or out_dim != 1:
            raise ValueError(f"a surface maps 3-D positions to one distance; the data has {in_dim} and {out_dim}")
        return SurfaceNetwork(self, aabb)


class SurfaceNetwork(nn.Module):
    def __init__(self, options: Surface, aabb: Aabb):
        super().__init__()
        self.to_unit = ToUnit(aabb)
        self.unit = aabb.half_edge
        self.encoding = options.encoding.build(3)
        self.mlp = MLP(
            self.encoding.out_dim,
            1 + options.features,
            width=options.width,
            depth=options.depth,
            activation=options.activation,
            parameterization=options.parameterization,
        )

    def values(self, x: Tensor) -> Tensor:
        """(m, 3) in own coordinates -> (m, 1): distance in half edges of the box, the unit it is trained in."""
        return self.mlp(self.encoding(self.to_unit(x)))[:, :1]

    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(m, 3) in own coordinates -> signed distance (m,) in own units, features (m, f). Carries gradient."""
        h = self.mlp(self.encoding(self.to_unit(x)))
        return h[:, 0] * self.unit, h[:, 1:]

    def forward(self, x: Tensor) -> Tensor:
        """Signed distance alone, (m, 3) -> (m,)."""
        return self.sdf(x)[0]
