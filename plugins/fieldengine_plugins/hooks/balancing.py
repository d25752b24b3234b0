"""The matrix that inductive gradient adjustment multiplies residuals with, from the kernel of representatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from fieldengine.api import RunContext, TrainingError
from fieldengine.ntk import gram, top_eigenpairs

if TYPE_CHECKING:
    from fieldengine_plugins.hooks.iga import Iga

MANY = 2048  # groups
SMALLEST = 1e-6  # of the largest eigenvalue; what is below is rounding
LARGEST_GAIN = 1e3  # of the sgd form, which would grow without end where eigenvalues fade


class Groups:
    """What both ways of grouping share: S from the kernel of representatives, and its product with a tile's rows."""

    span: ClassVar[Literal["tile"]] = "tile"

    def __init__(self, options: Iga, field: Any, context: RunContext):
        self.options, self.field, self.context = options, field, context
        self.vectors: Tensor | None = None  # (n, e)
        self.change: Tensor | None = None  # (e,), S = I + V diag(change) V'

    def kernel(self, values: Callable[[Tensor], Tensor], points: Tensor, per_group: int = 1) -> Tensor:
        """The kernel matrix of the field's values at points, whose layers are as they are after training: a kernel of
        points that mix has no entries. The log hears of every slow way."""
        training = self.field.training
        self.field.eval()
        try:
            return gram(self.field, values, points, per_group=per_group, told=self.context.tell)
        finally:
            self.field.train(training)

    def balance(self, kernel: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """V (n, e) and the change along each of its columns, with e as far as eigenvalues are above rounding."""
        try:
            values, vectors = top_eigenpairs(kernel, self.options.balanced + 1, start)
        except ValueError as reason:
            raise TrainingError(
                f"iga: {reason}. Lower training.lr, or set training.clip; checkpoints from before are kept"
            ) from reason
        count = min(self.options.balanced, int((values > SMALLEST * values[0]).sum()) - 1)
        if count < 1:
            return vectors[:, :0], values[:0]
        own, following = values[:count], values[count]
        if self.options.form == "adam":
            return vectors[:, :count], following / own - 1.0
        return vectors[:, :count], (values[0] / own).clamp(max=LARGEST_GAIN) - 1.0

    def tell_if_many(self, n_groups: int) -> None:
        if n_groups > MANY and self.options.balanced:
            self.context.tell(
                f"iga: more than {MANY} groups make a kernel of {MANY**2:,} numbers or more, whose "
                f"eigenvalues take seconds a step. Raise patch"
            )


def changed(g: Tensor, vectors: Tensor, change: Tensor) -> Tensor:
    """S g for g (k, n, c), k times the same n groups."""
    columns = g.transpose(0, 1).flatten(1)
    columns = torch.addmm(columns, vectors, change[:, None] * (vectors.t() @ columns))
    return columns.view(g.shape[1], g.shape[0], g.shape[2]).transpose(0, 1)
