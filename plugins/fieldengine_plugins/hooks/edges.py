"""Edges of a grey image: Canny's detector and Otsu's threshold."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldengine_plugins.hooks.images import sobel

NARROW, WIDE = math.tan(math.pi / 8), math.tan(3 * math.pi / 8)


def canny(image: Tensor, low: float, high: float) -> Tensor:
    """Edges (h, w) bool of an image (h, w) in 0..255 (Canny 1986, without smoothing).

    Gradients are Sobel's, with size |dy| + |dx|. A pixel is an edge if its size is larger than that of both neighbours
    across the edge, and above `high`, or above `low` and connected to such a pixel.
    """
    down, right = sobel(image)
    size = down.abs() + right.abs()
    around = F.pad(size, (1, 1, 1, 1))
    h, w = size.shape

    def neighbour(rows: int, columns: int) -> Tensor:
        return around[1 + rows : 1 + rows + h, 1 + columns : 1 + columns + w]

    flat, steep = down.abs() < NARROW * right.abs(), down.abs() > WIDE * right.abs()
    along = down * right >= 0  # the gradient points down and right, or up and left
    across = (size > neighbour(0, -1)) & (size >= neighbour(0, 1))
    upright = (size > neighbour(-1, 0)) & (size >= neighbour(1, 0))
    falling = (size > neighbour(-1, -1)) & (size > neighbour(1, 1))
    rising = (size > neighbour(-1, 1)) & (size > neighbour(1, -1))
    ridge = torch.where(flat, across, torch.where(steep, upright, torch.where(along, falling, rising)))
    return joined(ridge & (size > high), ridge & (size > low))


def joined(strong: Tensor, weak: Tensor) -> Tensor:
    """The pixels of `weak` (h, w) that a chain of eight-neighbours inside `weak` connects to `strong`."""
    h, w = weak.shape
    allowed = F.pad(weak, (1, 1, 1, 1)).flatten()
    reached = F.pad(strong & weak, (1, 1, 1, 1)).flatten()
    steps = [-w - 3, -w - 2, -w - 1, -1, 1, w + 1, w + 2, w + 3]
    offsets = torch.tensor(steps, device=weak.device)
    front = reached.nonzero()
    while len(front):
        near = (front + offsets).flatten()
        front = near[allowed[near] & ~reached[near]].unique()[:, None]
        reached[front] = True
    return reached.view(h + 2, w + 2)[1:-1, 1:-1]


def otsu(image: Tensor) -> float:
    """The grey value in 0..255 that splits the image's values into two classes of least variance (Otsu 1979)."""
    counts = torch.histc(image.double(), 256, 0.0, 255.0)
    values = torch.arange(256, dtype=torch.float64, device=image.device)
    below, sums = counts.cumsum(0), (counts * values).cumsum(0)
    above = below[-1] - below
    gap = sums / below.clamp(min=1) - (sums[-1] - sums) / above.clamp(min=1)
    return float((below * above * gap.square()).argmax())


def thickened(edges: Tensor) -> Tensor:
    """(h, w) bool: each edge pixel with its neighbours below, to the right, and below right."""
    return F.max_pool2d(F.pad(edges[None, None].float(), (1, 0, 1, 0)), 2, 1)[0, 0] > 0
