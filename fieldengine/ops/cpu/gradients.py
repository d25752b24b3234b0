"""What a twin does where its own kernels end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def by_reference(
    reference: Callable[..., Tensor | tuple[Tensor | None, ...]], inputs: Sequence[Any], grads: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """Gradients in `inputs` with a graph of their own: the reference is run again and differentiated.

    Kernels have no graph; a backward function calls this when somebody wants the gradient's gradient.
    """
    # as views each input is a place of its own: without, the gradient in x would follow g, too, back to x
    inputs = [x.view_as(x) if isinstance(x, Tensor) else x for x in inputs]
    outputs = reference(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    pairs = [(y, g) for y, g in zip(outputs, grads, strict=True) if g is not None and y is not None and y.requires_grad]
    wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    found = torch.autograd.grad(
        [y for y, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
    )
    by_input = dict(zip(map(id, wanted), found, strict=True))
    return tuple(by_input.get(id(x)) for x in inputs)
