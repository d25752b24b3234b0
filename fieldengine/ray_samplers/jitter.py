"""Random numbers for samples."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def draw(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    """Uniform numbers in [0, 1) from the run's generator, which lives on the CPU: the same numbers on every backend."""
    return torch.rand(shape, generator=generator).to(device)
