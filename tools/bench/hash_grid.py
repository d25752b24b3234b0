"""How fast is the hash grid's kernel against the plain torch reference?

3-D, 16 levels from 16 to 2048 cells, 2^19 entries of 2 numbers, 262 144 random positions.
"""

from __future__ import annotations

from typing import Any

import torch
from pair import Question, Step, main

from fieldengine.ops import grid_levels, hash_encode

N = 262_144
LEVELS = grid_levels(3, 16, 16, 2048, 19)


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(LEVELS[-1].offset + LEVELS[-1].size, 2, generator=generator) - 0.5
    return torch.rand(N, 3, generator=generator), table.requires_grad_(), torch.randn(N, 32, generator=generator)


def first_order(encode: Any) -> Step:
    x, table, g = inputs()

    def step() -> None:
        table.grad = None
        encode(x, table, LEVELS).backward(g)

    return step


def second_order(encode: Any) -> Step:
    """As an eikonal loss: the gradient in x, and what it costs to differentiate that by x and the table."""
    x, table, g = inputs()
    x.requires_grad_()

    def step() -> None:
        table.grad = x.grad = None
        y = encode(x, table, LEVELS)
        (slope,) = torch.autograd.grad(y, x, g, create_graph=True)
        (y.square().mean() + (torch.linalg.vector_norm(slope, dim=-1) - 1).square().mean()).backward()

    return step


if __name__ == "__main__":
    main(
        Question(
            "hash grid, forward and backward",
            "plain torch",
            "at least 20",
            lambda: first_order(hash_encode.reference),
            lambda: first_order(hash_encode),
        ),
        Question(
            "hash grid, with position gradients and double backward",
            "plain torch",
            "at least 10",
            lambda: second_order(hash_encode.reference),
            lambda: second_order(hash_encode),
        ),
    )
