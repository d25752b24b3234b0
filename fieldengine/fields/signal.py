"""A signal: values at points, as of an image (2-D), a sound (1-D) or a volume (3-D)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from fieldengine.fields.box import ToUnit
from fieldengine.fields.mlp import MLP
from fieldengine.fields.output import Output, answer
from fieldengine.kinds.activation import Activation
from fieldengine.kinds.encoding import EncodingOptions
from fieldengine.kinds.parameterization import Parameterization
from fieldengine.types import Aabb


@dataclass(frozen=True)
class Signal:
    """Values at points: images, sounds, volumes."""

    encoding: EncodingOptions
    """what the coordinates become before the MLP"""
    activation: Activation
    """makes the layers of the MLP"""
    parameterization: Parameterization | None = None
    """how layers of the MLP hold their weights"""
    width: Annotated[int, Field(ge=1)] = 64
    """units of a hidden layer"""
    depth: Annotated[int, Field(ge=0, le=1000)] = 2
    """activated layers"""
    output: Output = "signed"
    """what the last layer returns: the value; the value stretched to [-1, 1], so that zero is mid-grey; or its logit"""

    def build(self, *, in_dim: int, out_dim: int, aabb: Aabb) -> nn.Module:
        return SignalNetwork(self, in_dim, out_dim, aabb)


class SignalNetwork(nn.Module):
    def __init__(self, options: Signal, in_dim: int, out_dim: int, aabb: Aabb):
        super().__init__()
        self.to_unit = ToUnit(aabb)
        self.output: Output = options.output
        self.encoding = options.encoding.build(in_dim)
        self.mlp = MLP(
            self.encoding.out_dim,
            out_dim,
            width=options.width,
            depth=options.depth,
            activation=options.activation,
            parameterization=options.parameterization,
        )

    def values(self, x: Tensor) -> Tensor:
        """(m, d) in the data's own coordinates -> (m, c). Carries gradient to x and to all parameters."""
        return answer(self.mlp(self.encoding(self.to_unit(x))), self.output)

    forward = values
