"""Multiplicative filter networks: products of sinusoids or wavelets of the coordinates, and no other nonlinearity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import Aabb, Candidates
from fieldengine.fields import Output, ToUnit, answer


@dataclass(frozen=True)
class FilterNetwork:
    """z_1 = g_1(x), z_i+1 = (W_i z_i + b_i) * g_i+1(x), then a linear map: a multiplicative filter network.

    Fathony et al. 2021, Multiplicative Filter Networks. A filter g is sin(Omega x + phi) (FourierNet), or that times
    exp(-gamma / 2 |x - mu|^2) (GaborNet). The network is a sum of many such filters and has neither encoding nor
    activation. Coordinates are in [-1, 1]. Initialisation as in WIRE's code: Omega from U(+-1/sqrt(d)) times `scale`,
    in GaborNet also times sqrt(gamma); gamma from Gamma(6 / depth, 1), mu from U(-1, 1), phi from U(-pi, pi), W from
    U(+-1/sqrt(width)).

    Scene: `field: {type: filter_network, filters: gabor, width: 256, depth: 4}`
    """

    filters: Literal["fourier", "gabor"] = "gabor"
    """sinusoids, or sinusoids times Gaussians"""
    width: Annotated[int, Field(ge=1)] = 256
    """filters per layer"""
    depth: Annotated[int, Field(ge=1, le=1000)] = 4
    """layers of filters"""
    scale: Annotated[float, Field(gt=0), Candidates(16, 32, 64, 128, 256, 512)] = 128.0
    """initial scale of the frequencies; finer images need more"""
    output: Output = "signed"
    """what the last layer returns: the value; the value stretched to [-1, 1], so that zero is mid-grey; or its logit"""

    def build(self, *, in_dim: int, out_dim: int, aabb: Aabb) -> nn.Module:
        return FilterNetworkModule(self, in_dim, out_dim, aabb)


class FilterNetworkModule(nn.Module):
    def __init__(self, options: FilterNetwork, in_dim: int, out_dim: int, aabb: Aabb):
        super().__init__()
        self.to_unit = ToUnit(aabb)
        kind = GaborFilter if options.filters == "gabor" else FourierFilter
        self.filters = nn.ModuleList(
            kind(in_dim, options.width, options.scale, options.depth) for _ in range(options.depth)
        )
        maps = [nn.Linear(options.width, options.width) for _ in range(options.depth - 1)]
        self.maps, self.last = nn.ModuleList(maps), nn.Linear(options.width, out_dim)
        for linear in (*maps, self.last):
            nn.init.uniform_(linear.weight, -1.0 / math.sqrt(options.width), 1.0 / math.sqrt(options.width))
        self.output: Output = options.output

    def values(self, x: Tensor) -> Tensor:
        """(m, d) in the data's own coordinates -> (m, c). Carries gradient to x and to all parameters."""
        x = self.to_unit(x)
        first, *others = self.filters
        z = first(x)
        for linear, some in zip(self.maps, others, strict=True):
            z = linear(z) * some(x)
        return answer(self.last(z), self.output)

    forward = values


class FourierFilter(nn.Linear):
    """sin(Omega x + phi), (m, d) -> (m, width)."""

    def __init__(self, in_dim: int, width: int, scale: float, n_filters: int):
        super().__init__(in_dim, width)
        with torch.no_grad():
            self.weight *= scale
            self.bias.uniform_(-math.pi, math.pi)

    def forward(self, input: Tensor) -> Tensor:
        return torch.sin(super().forward(input))


class GaborFilter(FourierFilter):
    """exp(-gamma / 2 |x - mu|^2) sin(Omega x + phi), (m, d) -> (m, width)."""

    def __init__(self, in_dim: int, width: int, scale: float, n_filters: int):
        super().__init__(in_dim, width, scale, n_filters)
        gamma = torch.distributions.Gamma(6.0 / n_filters, 1.0).sample((width,))
        self.gamma, self.mu = nn.Parameter(gamma), nn.Parameter(torch.empty(width, in_dim).uniform_(-1, 1))
        with torch.no_grad():
            self.weight *= gamma[:, None].sqrt()

    def forward(self, input: Tensor) -> Tensor:
        distance = input.square().sum(-1, keepdim=True) + self.mu.square().sum(-1) - 2.0 * input @ self.mu.t()
        return torch.exp(-0.5 * self.gamma * distance) * super().forward(input)
