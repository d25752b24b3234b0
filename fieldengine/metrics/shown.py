"""What several metrics of images need: the image as a screen shows it, and how large it must be."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def shown(image: Tensor) -> Tensor:
    """(h, w, c) -> (1, c, h, w), clipped to [0, 1] as a screen does."""
    return image.clamp(0, 1).permute(2, 0, 1)[None]


def too_small(shape: Sequence[int], least: int) -> str:
    """Why a metric cannot be computed of images whose sides have fewer pixels; empty where they have as many."""
    if min(shape) >= least:
        return ""
    size = "x".join(map(str, reversed(shape)))
    return f"needs images of {least} pixels a side or more, found {size}. Leave it out"
