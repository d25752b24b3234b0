"""Sines and cosines of the coordinates at increasing frequencies, in the four definitions that published code uses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fieldengine.api import Candidates


@dataclass(frozen=True)
class Frequency:
    """Sines and cosines at increasing frequencies (positional encoding).

    Of each coordinate at octaves 2^0 .. 2^(L-1), or of random projections.

    Four incompatible definitions exist:
      nerf      sin(2^i x), cos(2^i x)          Mildenhall et al. 2020 as in their code; FINER++'s PEMLP
      pi        sin(2^i pi x), cos(2^i pi x)    the paper's Eq. 4; WIRE, IGA
      gaussian  sin(2 pi B x), cos(2 pi B x)    Tancik et al. 2020, B ~ N(0, sigma^2)
      survey    cos(2 pi B x), sin(2 pi B x)    the same with the cosines first
    For nerf and pi the raw coordinates come first, as in their code, unless `include_input` says otherwise.

    Scene: `encoding: {type: frequency, definition: pi, n_frequencies: 6}`
    """

    definition: Literal["nerf", "pi", "gaussian", "survey"] = "nerf"
    """which of the four"""
    n_frequencies: Annotated[int, Field(ge=1, le=64)] = 10
    """octaves L (nerf, pi)"""
    n_projections: Annotated[int, Field(ge=1)] = 128
    """rows of B (gaussian, survey)"""
    sigma: Annotated[float, Field(gt=0), Candidates(1, 2, 4, 6, 8, 10, 15, 20, 30, 40)] = 10.0
    """standard deviation of B (gaussian, survey)"""
    include_input: bool | None = None
    """put the coordinates first; null follows the definition's code"""

    def build(self, in_dim: int) -> nn.Module:
        return FrequencyModule(self, in_dim)


class FrequencyModule(nn.Module):
    projection: Tensor

    def __init__(self, options: Frequency, in_dim: int):
        super().__init__()
        octaves = options.definition in ("nerf", "pi")
        if octaves:
            # one row per frequency and axis, frequencies outside: (L d, d)
            scale = math.pi if options.definition == "pi" else 1.0
            frequencies = scale * 2.0 ** torch.arange(options.n_frequencies)
            projection = torch.kron(frequencies[:, None], torch.eye(in_dim))
        else:
            projection = 2.0 * math.pi * options.sigma * torch.randn(options.n_projections, in_dim)
        self.register_buffer("projection", projection)
        # of a random projection one standard deviation; some lie beyond
        self.highest_frequency = float(projection.max()) if octaves else 2.0 * math.pi * options.sigma
        self.octaves = octaves
        self.in_dim = in_dim
        self.cosine_first = options.definition == "survey"
        self.include_input = octaves if options.include_input is None else options.include_input
        self.out_dim = 2 * len(projection) + (in_dim if self.include_input else 0)
        if octaves:
            self.level_columns = [2 * in_dim] * options.n_frequencies  # per octave; the input comes first

    def forward(self, x: Tensor) -> Tensor:
        """(m, d) in [-1, 1] -> (m, out_dim). Carries gradient to x."""
        phase = x @ self.projection.T
        pair: tuple[Any, ...] = (torch.sin(phase), torch.cos(phase))
        if self.cosine_first:
            pair = pair[::-1]
        if self.octaves:  # octave by octave, as the published code orders them
            pair = (torch.stack([part.unflatten(1, (-1, self.in_dim)) for part in pair], dim=2).flatten(1),)
        return torch.cat([x, *pair] if self.include_input else pair, dim=-1)
