"""Weights as sums of fixed cosines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fieldengine_plugins.parameterizations.weighted import weighted


@dataclass(frozen=True)
class Fourier:
    """W = Lambda B with trained Lambda and fixed cosines as rows of B: Fourier reparameterisation (FR).

    Shi et al. 2024, Improved Implicit Neural Representation with Fourier Reparameterized Training, eqs. 6 to 8. Rows of
    B are amplitude cos(f t + phase) at as many points t in [-T/2, T/2] as the layer has inputs, T the longest period:
    f = i / low for i = 1 to low, and f = 1 to high, each with all phases. Lambda is drawn so that weights start with
    the width of sqrt(6 / n) / omega; biases start at zero. Only square hidden layers are reparameterised.

    An exported field holds only W. Every tile costs two products with B, which has (low + high) phases rows. The
    amplitude cancels in the initial weights but not in their gradient, so it scales the learning rate. The tables of
    IGA use 1e-3 for relu with lr 5e-3, 0.05 for relu behind frequencies with lr 1e-3, 4e-3 for siren with lr 1e-3.

    Scene: `field: {parameterization: {type: fourier, amplitude: 1.e-3}}`
    """

    low: Annotated[int, Field(ge=1, le=1024)] = 128
    """number of frequencies up to 1"""
    high: Annotated[int, Field(ge=1, le=1024)] = 128
    """number of integer frequencies from 1 on"""
    phases: Annotated[int, Field(ge=1, le=256)] = 32
    """phases of each frequency"""
    amplitude: Annotated[float, Field(gt=0)] = 1e-3
    """amplitude of every cosine"""
    omega: Annotated[float, Field(gt=0)] = 1.0
    """frequency of a periodic activation, which makes initial weights narrower; 30 with siren"""

    def apply(self, layers: Sequence[nn.Module], width: int) -> Sequence[nn.Module]:
        for layer in layers[1:-1]:
            for module in weighted(layer):
                out_dim, in_dim = module.weight.shape[-2:]
                if out_dim == in_dim:
                    parametrize.register_parametrization(module, "weight", self._sum_of_cosines(in_dim))
                    nn.init.zeros_(module.bias)
        return layers

    def _sum_of_cosines(self, in_dim: int) -> SumOfCosines:
        frequencies = [i / self.low for i in range(1, self.low + 1)] + [float(i) for i in range(1, self.high + 1)]
        t = math.pi * self.low * torch.linspace(-1.0, 1.0, in_dim, dtype=torch.float64)
        phases = torch.arange(self.phases, dtype=torch.float64) * (2.0 * math.pi / self.phases)
        f = torch.tensor(frequencies, dtype=torch.float64)
        basis = torch.cos(f[:, None, None] * t + phases[:, None]).reshape(-1, in_dim)
        return SumOfCosines((self.amplitude * basis).float(), self.omega)


class SumOfCosines(nn.Module):
    """Lambda (..., out, rows) -> W (..., out, in) = Lambda B, with B (rows, in)."""

    basis: Tensor

    def __init__(self, basis: Tensor, omega: float):
        super().__init__()
        self.register_buffer("basis", basis, persistent=False)  # follows from the options
        self.omega = omega

    def forward(self, mixture: Tensor) -> Tensor:
        return mixture @ self.basis

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The initial Lambda, redrawn because no sum of cosines equals the weights that the activation drew."""
        rows = len(self.basis)
        bound = math.sqrt(6.0 / rows) / self.basis.norm(dim=1) / self.omega
        return (2.0 * torch.rand(*weight.shape[:-1], rows) - 1.0) * bound
