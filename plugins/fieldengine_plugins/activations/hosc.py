"""Sines sharpened towards square waves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import Candidates
from fieldengine.ops import Dense, RealFunction, cos, sin, tanh
from fieldengine_plugins.activations.initial import drawn


@dataclass(frozen=True)
class Hosc:
    """tanh(beta sin(omega u)) with u = Wx + b, HOSC; with a learned beta, AdaHOSC.

    Serrano et al. 2024, HOSC: A Periodic Activation Function for Preserving Sharp Features.

    A small beta gives beta sin, a large one a square wave, whose slope vanishes almost everywhere: beyond about 10 it
    hardly trains. Weights are drawn as in SIREN.

    Scene: `activation: {type: hosc, omega: 30, beta: 2}`
    """

    omega: Annotated[float, Field(gt=0), Candidates(*range(10, 130, 10))] = 30.0
    """frequency of the layers"""
    first_omega: Annotated[float, Field(gt=0)] | None = None
    """frequency of the first layer; null is omega"""
    beta: Annotated[float, Field(gt=0)] = 2.0
    """sharpness of the wave's edges"""
    learn_beta: bool = False
    """whether each layer learns its own beta, starting from this one"""

    def hidden(self, in_dim: int, out_dim: int, *, is_first: bool) -> nn.Module:
        omega = self.first_omega if is_first and self.first_omega else self.omega
        if self.learn_beta:
            return drawn(AdaptiveLayer(in_dim, out_dim, omega, self.beta), "sine", self.omega, is_first=is_first)
        return drawn(Dense(in_dim, out_dim, SHARP_SINE, omega, self.beta), "sine", self.omega, is_first=is_first)

    def output(self, in_dim: int, out_dim: int) -> nn.Module:
        return drawn(nn.Linear(in_dim, out_dim), "sine", self.omega)


class AdaptiveLayer(nn.Linear):
    def __init__(self, in_dim: int, out_dim: int, omega: float, beta: float):
        super().__init__(in_dim, out_dim)
        self.omega, self.beta = omega, nn.Parameter(torch.tensor(float(beta)))

    def forward(self, input: Tensor) -> Tensor:
        return torch.tanh(self.beta * torch.sin(self.omega * super().forward(input)))


def value(u: Any, omega: float, beta: float) -> Any:
    return tanh(beta * sin(omega * u))


def slope(u: Any, omega: float, beta: float) -> Any:
    y = tanh(beta * sin(omega * u))
    return (1.0 - y * y) * beta * omega * cos(omega * u)


SHARP_SINE = RealFunction(value, slope)
