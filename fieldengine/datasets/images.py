"""Arithmetic of images that keeps transparent borders right."""

from __future__ import annotations

import torch
from torch import Tensor

Color = str | tuple[float, float, float]
NAMED = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}


def to_float(image: Tensor) -> Tensor:
    """uint8 or uint16 -> float32 in [0, 1]; float32 as it is."""
    if image.dtype == torch.float32:
        return image
    return image.float() / (255.0 if image.dtype == torch.uint8 else 65535.0)


def premultiplied(image: Tensor) -> Tensor:
    """Straight alpha, the last channel -> colour times alpha, alpha kept. Only so may pixels be averaged."""
    return torch.cat([image[..., :-1] * image[..., -1:], image[..., -1:]], dim=-1)


def over(premultiplied: Tensor, background: Tensor) -> Tensor:
    """Colour times alpha (..., c + 1) over a background (3,) or (..., 3) -> (..., c); grey takes its mean."""
    channels = premultiplied.shape[-1] - 1
    behind = background if channels == 3 else background.mean(dim=-1, keepdim=True)
    return premultiplied[..., :-1] + (1.0 - premultiplied[..., -1:]) * behind


def downscaled(image: Tensor, factor: int) -> Tensor:
    """Exact means over factor x factor blocks of (h, w, c) floats; a rest at the right and the bottom is cut off."""
    h, w = image.shape[0] // factor, image.shape[1] // factor
    return image[: h * factor, : w * factor].reshape(h, factor, w, factor, image.shape[2]).mean(dim=(1, 3))


def color(value: Color) -> Tensor:
    """A named colour or three numbers in [0, 1] -> (3,)."""
    return torch.tensor(NAMED[value] if isinstance(value, str) else value, dtype=torch.float32)
