"""What the last layer of a signal's network returns."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Output = Literal["linear", "signed", "sigmoid"]


def answer(y: Tensor, output: Output) -> Tensor:
    """The value of a last layer's output: itself; stretched from [-1, 1] to [0, 1]; or as a logit."""
    if output == "signed":
        return 0.5 * y + 0.5
    return torch.sigmoid(y) if output == "sigmoid" else y
