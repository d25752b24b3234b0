"""Inner products of gradients, (n, n), without the gradients where they are outer products.

An item has r rows; its gradient is the sum over them. For a weight W of y = W a that is sum_k d_k a_kᵀ, a the inputs
and d the cotangents of the outputs, and the product of two items is sum_kl (d_k . d_l)(a_k . a_l).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ops import sparse_gram

MOST = 1 << 22  # numbers of a table that is kept in between
SLAB = 512  # items whose products with all later ones are computed at once


def add_of_outer_products(total: Tensor, a: Tensor, d: Tensor, *, bias: bool = False) -> None:
    """Of the gradients sum_k d_k a_kᴴ.

    Args:
        total: (n, n), to whose upper triangle the products are added; what lies below no longer counts.
        a: (n, r, p), real or complex.
        d: (n, r, q), likewise; of complex numbers the real part of the product counts, real and imaginary part of the
            gradient being numbers of their own.
        bias: count the gradient sum_k d_k of a bias, too.
    """
    (n, r, p), q = a.shape, d.shape[2]
    if n * r * r * (p + q) <= (n + r) * p * q:
        _add_pair_by_pair(total, a, d, bias)
        return
    if bias:
        a = torch.cat([a, a.new_ones(n, r, 1)], dim=2)
    for some in d.split(max(1, MOST // max(1, n * a.shape[2])), dim=2):
        total += of_gradients((some.transpose(1, 2) @ a.conj()).flatten(1))


def _add_pair_by_pair(total: Tensor, a: Tensor, d: Tensor, bias: bool) -> None:
    n, r = a.shape[:2]
    (all_a, all_d), size = (t.flatten(0, 1) for t in (a, d)), max(1, min(SLAB, MOST // max(1, n * r * r)))
    for first in range(0, n, size):
        of_a, of_d = (t[first * r : (first + size) * r] @ t[first * r :].t().conj() for t in (all_a, all_d))
        part = total[first : first + size, first:]
        if bias:
            of_a += 1
        if r == 1 and not of_a.is_complex():
            part.addcmul_(of_a, of_d)
        else:
            both = (of_d * of_a.conj()).real if of_a.is_complex() else of_a * of_d
            part += both.view(-1, r, n - first, r).sum((1, 3))


def of_gradients(gradients: Tensor) -> Tensor:
    """Of dense gradients (n, q)."""
    if gradients.is_complex():
        gradients = torch.view_as_real(gradients).flatten(1)
    return gradients @ gradients.t()


def of_sparse_gradients(gradients: Tensor, n: int) -> Tensor:
    """Of sparse gradients of rows (n r, e, ...), what follows e dense: sums over pairs that share an entry."""
    item, entry = gradients._indices()
    item, values = item // max(1, gradients.shape[0] // max(1, n)), gradients._values()
    values = values.reshape(len(values), -1)
    if gradients.shape[0] > n:  # rows of an item that share an entry become one: pairs cost the square of their number
        shape = (n, gradients.shape[1], values.shape[1])
        places = torch.stack([item, entry])
        summed = torch.sparse_coo_tensor(places, values, shape, check_invariants=False).coalesce()
        (item, entry), values = summed.indices(), summed.values()
    return sparse_gram(item, entry, values, n)
