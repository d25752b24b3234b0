"""The largest eigenvalues of a kernel matrix, and their vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ntk.threads import alone_if

EXTRA = 8  # vectors beyond those asked for; the more, the faster the last of them settles
BLOCKS = (4, 6, 8)  # of a Krylov space, after which it is looked whether the vectors have settled
SMALL = 512  # points
TOLERANCE = 1e-6  # of |K v - lambda v|, in units of the largest eigenvalue


def top_eigenpairs(kernel: Tensor, n: int, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The n largest eigenvalues, largest first, and their unit vectors. Float64 inside; carries no gradient.

    Args:
        kernel: (m, m), symmetric up to rounding.
        n: how many; no more than m are returned.
        start: (m, k) vectors near those that are wanted, such as those of a step before. The space that they, a few
            columns of the kernel and products with it span is searched before the whole matrix is decomposed; what is
            found there is taken where |K v - lambda v| is below 1e-6 of the largest eigenvalue. Of a thousand
            points that takes a fifth of the time.

    Returns:
        (n,) and (m, n), of the kernel's type. Eigenvalues that rounding made negative are returned as they are.

    Raises ValueError where the kernel is not square, or holds what is not finite.
    """
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise ValueError(f"a kernel is a square matrix; this one has the shape {tuple(kernel.shape)}")
    if not bool(kernel.isfinite().all()):
        raise ValueError("the kernel holds numbers that are not finite; the field's values or gradients overflow")
    m = len(kernel)
    n = max(0, min(n, m))
    k = kernel.detach().double()
    k = 0.5 * (k + k.t())
    found = _from_start(k, n, start.detach().double()) if n and start is not None and len(start) == m else None
    values, vectors = found or _whole(k)
    return values[:n].to(kernel.dtype), vectors[:, :n].to(kernel.dtype)


def _whole(k: Tensor) -> tuple[Tensor, Tensor]:
    with alone_if(len(k) <= SMALL):
        values, vectors = torch.linalg.eigh(k)
    return values.flip(0), vectors.flip(1)


def _from_start(k: Tensor, n: int, start: Tensor) -> tuple[Tensor, Tensor] | None:
    """Block Lanczos, or None where vectors have not settled, or it might cost as much as the whole."""
    width = n + EXTRA
    if 2 * BLOCKS[1] * width > len(k) or not bool(start.isfinite().all()):
        return None
    # columns of k, for the vectors that the start does not have: no random numbers are drawn
    columns = k[:, torch.linspace(0, len(k) - 1, max(0, width - start.shape[1]), device=k.device).long()]
    basis = torch.linalg.qr(torch.cat([start[:, :width], columns], dim=1))[0]
    image = k @ basis
    for number in range(2, BLOCKS[-1] + 1):
        if 2 * number * width > len(k):
            return None
        block = image[:, -width:]
        for _ in range(2):  # once is not orthogonal to rounding, nor where the kernel has fewer dimensions
            block = torch.linalg.qr(block - basis @ (basis.t() @ block))[0]
        basis, image = torch.cat([basis, block], dim=1), torch.cat([image, k @ block], dim=1)
        if number in BLOCKS:
            values, turn = torch.linalg.eigh(basis.t() @ image)
            values, turn = values.flip(0)[:n], turn.flip(1)[:, :n]
            vectors = basis @ turn
            error = (image @ turn - vectors * values).norm()
            if bool(error <= TOLERANCE * values.abs().max()):
                return values, vectors
    return None
