"""Grey images and their derivatives, for samplers that use edges."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldengine.api import Domain

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


def image_shape(domain: Domain, n_items: int, name: str) -> tuple[int, int]:
    """(height, width) of the image to fit. Raises ValueError if there is none."""
    shape = domain.image_shape(n_items)
    if shape is None:
        here = f'these {n_items} items are not (task "{domain.task}")'
        if domain.is_image and domain.grid is not None:
            here = f"a mask leaves {n_items} of {math.prod(domain.grid.shape)}"
        raise ValueError(
            f"{name} looks at edges of an image, so it needs a data set whose items are all pixels of one; {here}. "
            f"nint, int and uniform take any items"
        )
    return shape


def grey_weights(channels: int, like: Tensor) -> Tensor:
    """(c,): the weights of the channels in grey; equal unless there are three of them."""
    return like.new_tensor(GREY) if channels == 3 else torch.full_like(like[0], 1.0 / channels)


def grey(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Values (h w, c) in [0, 1] -> grey (h, w) in 0..255. Linear, so differences of values give differences of grey."""
    return 255.0 * (values @ grey_weights(values.shape[1], values)).view(shape)


def laplacian(image: Tensor) -> Tensor:
    """(h, w) -> (h, w): the four neighbours minus four times the pixel, zero outside. Its own transpose."""
    padded = F.pad(image, (1, 1, 1, 1))
    return padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4.0 * image


def sobel(image: Tensor) -> tuple[Tensor, Tensor]:
    """(h, w) -> derivatives by row number and by column number, each (h, w), borders replicated."""
    p = F.pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    smooth_x = p[:, :-2] + 2.0 * p[:, 1:-1] + p[:, 2:]
    smooth_y = p[:-2] + 2.0 * p[1:-1] + p[2:]
    return smooth_x[2:] - smooth_x[:-2], smooth_y[:, 2:] - smooth_y[:, :-2]
