"""ReLU, the baseline of every comparison, and smooth alternatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import nn


@dataclass(frozen=True)
class Relu:
    """max(0, Wx + b), the baseline; or tanh, or softplus.

    torch's default initialisation. Fits fine detail only behind an encoding. For distance fields that need curvature
    use `function: softplus`, ln(1 + exp(sharpness u)) / sharpness, a ReLU with a second derivative.

    Scene: `activation: relu`
    """

    function: Literal["relu", "tanh", "softplus"] = "relu"
    """which of the three"""
    sharpness: Annotated[float, Field(gt=0)] = 100.0
    """softplus only: how narrow its bend is"""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        functions = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "softplus": nn.Softplus(beta=self.sharpness)}
        return nn.Sequential(nn.Linear(in_dim, out_dim), functions[self.function])

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return nn.Linear(in_dim, out_dim)
