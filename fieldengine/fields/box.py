"""The step from the data's own coordinates to the [-1, 1] that encodings expect."""

from __future__ import annotations

from torch import Tensor, nn

from fieldengine.types import Aabb


class ToUnit(nn.Module):
    """Own coordinates (m, d) -> [-1, 1] inside the box. The box moves with the module but is not part of its state."""

    lower: Tensor
    upper: Tensor

    def __init__(self, aabb: Aabb):
        super().__init__()
        self.register_buffer("lower", aabb.lower.clone(), persistent=False)
        self.register_buffer("upper", aabb.upper.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return Aabb(self.lower, self.upper).to_unit(x)
