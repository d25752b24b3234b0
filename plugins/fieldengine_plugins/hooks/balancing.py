"""The matrix of inductive gradient adjustment, which multiplies residuals, from the kernel of representatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from fieldengine.api import RunContext, TrainingError
from fieldengine.ntk import gram, top_eigenpairs

Form = Literal["adam", "sgd"]

MANY = 2048  # groups
SMALLEST = 1e-6  # of the largest eigenvalue; smaller ones are rounding
LARGEST_GAIN = 1e3  # of the sgd form, which would diverge for vanishing eigenvalues


class Adjustment(NamedTuple):
    """S = I + V diag(change) V' for n groups, V (n, e) orthonormal, change (e,)."""

    vectors: Tensor
    change: Tensor

    def times(self, g: Tensor) -> Tensor:
        """S g for g (k, n, c), k times the same n groups."""
        columns = g.transpose(0, 1).flatten(1)
        columns = torch.addmm(columns, self.vectors, self.change[:, None] * (self.vectors.t() @ columns))
        return columns.view(g.shape[1], g.shape[0], g.shape[2]).transpose(0, 1)


def balance(kernel: Tensor, balanced: int, form: Form, start: Tensor | None = None) -> Adjustment:
    """S of a kernel (n, n), with e = `balanced`, or fewer if the other eigenvalues are only rounding.

    Args:
        start: vectors close to the kernel's first ones, such as those of the previous step.

    Raises ValueError if the kernel is not finite.
    """
    values, vectors = top_eigenpairs(kernel, balanced + 1, start)
    count = min(balanced, int((values > SMALLEST * values[0]).sum()) - 1)
    if count < 1:
        return Adjustment(vectors[:, :0], values[:0])
    own, following = values[:count], values[count]
    if form == "adam":
        return Adjustment(vectors[:, :count], following / own - 1.0)
    return Adjustment(vectors[:, :count], (values[0] / own).clamp(max=LARGEST_GAIN) - 1.0)


@dataclass(frozen=True)
class Balancing:
    """What patches and groups in space share: the kernel of their representatives."""

    field: Any
    context: RunContext
    balanced: int
    form: Form

    def kernel(self, values: Callable[[Tensor], Tensor], points: Tensor, per_group: int = 1) -> Tensor:
        """The kernel matrix of the field's values at points, in eval mode: layers that mix points in training would not
        define its entries. Warns once of every slow path."""
        training = self.field.training
        self.field.eval()
        try:
            return gram(self.field, values, points, per_group=per_group, warn=self.context.warn_once)
        finally:
            self.field.train(training)

    def adjustment(self, kernel: Tensor, start: Tensor | None = None) -> Adjustment:
        try:
            return balance(kernel, self.balanced, self.form, start)
        except ValueError as reason:
            raise TrainingError(
                f"iga: {reason}. Lower training.lr, or set training.clip; checkpoints from before are kept"
            ) from reason

    def tell_if_many(self, n_groups: int) -> None:
        if n_groups > MANY:
            self.context.warn_once(
                f"iga: more than {MANY} groups make a kernel of {MANY**2:,} numbers or more, whose "
                f"eigenvalues take seconds a step. Raise patch"
            )
