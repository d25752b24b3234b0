"""Random numbers for samples."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def draw(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    """Uniform numbers in [0, 1), drawn where the generator lives: on the device itself nothing waits for a copy."""
    return torch.rand(shape, generator=generator, device=generator.device).to(device)
