"""The image networks of the published FINER++ code and how it fits them, once more, as plainly as torch says it.

Written from the formulas, to be compared with: nothing here is ours but the words. Run by nobody, imported by parity.py
and by the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

AT_ONCE = 2048  # pixels whose graph is held at once: what fits a cache is sooner done, and sums stay sums


def growth(u: Tensor) -> Tensor:
    """The factor |u| + 1, through which that code sends no gradient."""
    return u.detach().abs() + 1


def gauss(u: Tensor, scale: float) -> Tensor:
    return torch.exp(-((scale * u) ** 2))


def gabor(u: Tensor, omega: float, scale: float) -> Tensor:
    """exp(j omega u - |scale u|^2), by size and angle: torch takes exp of complex numbers one at a time."""
    a, b = parts(u)
    return torch.polar(torch.exp(-omega * b - scale**2 * (a**2 + b**2)), omega * a)


def variable_sine(u: Tensor, omega: float) -> Tensor:
    """sin(omega (|u| + 1) u); of complex numbers, |u| + 1 of either part apart, and sin by its parts, as above."""
    if not u.is_complex():
        return torch.sin(omega * growth(u) * u)
    a, b = (omega * growth(part) * part for part in parts(u))
    return torch.complex(torch.sin(a) * torch.cosh(b), torch.cos(a) * torch.sinh(b))


def parts(u: Tensor) -> tuple[Tensor, Tensor]:
    return (u.real, u.imag) if u.is_complex() else (u, torch.zeros_like(u))


@dataclass(frozen=True)
class Published:
    """A network as the published script sets it up.

    Attributes:
        row: its name in Table 1.
        omega: of SIREN's bounds of the weights; None leaves them as torch draws them.
        first_bias: the first layer's bias is drawn from U(-first_bias, first_bias); None leaves it, too.
    """

    row: str
    activate: Callable[[Tensor], Tensor]
    lr: float
    omega: float | None = None
    first_bias: float | None = None
    is_complex: bool = False


METHODS = {
    "siren": Published("SIREN", lambda u: torch.sin(30 * u), 5e-4, omega=30),
    "finer": Published("FINER++ Sine", lambda u: variable_sine(u, 30), 5e-4, omega=30),
    "gauss": Published("Gauss", lambda u: gauss(u, 30), 5e-3),
    "gf": Published("FINER++ Gauss", lambda u: gauss(variable_sine(u, 10), 3), 1e-3, omega=10, first_bias=1),
    "wire": Published("WIRE", lambda u: gabor(u, 20, 10), 5e-3, is_complex=True),
    "wf": Published(
        "FINER++ Wavelet", lambda u: gabor(variable_sine(u, 5), 4, 2), 1e-3, omega=5 * 4, first_bias=1, is_complex=True
    ),
}


class Twin(nn.Module):
    """Row and column (m, 2) -> colours (m, 3), both in [-1, 1]."""

    def __init__(self, method: Published, width: int = 256, hidden_layers: int = 3):
        super().__init__()
        n, dtype = (int(width / math.sqrt(2)), torch.complex64) if method.is_complex else (width, torch.float32)
        self.activate = method.activate
        self.layers = nn.ModuleList()
        for i, (inputs, outputs) in enumerate([(2, n), *[(n, n)] * hidden_layers, (n, 3)]):
            layer = nn.Linear(inputs, outputs, dtype=dtype if i else torch.float32)
            if i == 0 and method.first_bias is not None:
                nn.init.uniform_(layer.bias, -method.first_bias, method.first_bias)
            if method.omega is not None:
                bound = math.sqrt(6 / inputs) / method.omega if i else 1 / inputs
                nn.init.uniform_(layer.weight, -bound, bound)
            self.layers.append(layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activate(layer(x))
        y = self.layers[-1](x)
        return y.real if y.is_complex() else y


def fit(twin: Twin, x: Tensor, y: Tensor, lr: float, steps: int, eps: float = 1e-8) -> list[float]:
    """Train on colours y (m, 3) in [-1, 1] at x (m, 2); returns each step's loss."""
    optimizer = torch.optim.Adam(twin.parameters(), lr=lr, eps=eps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1 ** (step / steps))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        losses.append(0.0)
        for a, b in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True):
            loss = (twin(a) - b).square().sum() / y.numel()
            loss.backward()
            losses[-1] += float(loss.detach())
        optimizer.step()
        schedule.step()
    return losses


def psnr(twin: Twin, x: Tensor, y: Tensor) -> float:
    """Of values and colours in [0, 1], values clipped to it."""
    with torch.no_grad():
        values = (0.5 * twin(x) + 0.5).clamp(0, 1)
    return float(-10 * torch.log10((values - (0.5 * y + 0.5)).square().mean()))


def points(image: np.ndarray) -> tuple[Tensor, Tensor]:
    """Row and column of each pixel, (h w, 2), the outermost at -1 and 1, and its colour (h w, 3) in [-1, 1]."""
    axes = [torch.linspace(-1, 1, n) for n in image.shape[:2]]
    x = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2)
    return x, 2 * torch.from_numpy(image.astype(np.float32) / 255).reshape(-1, 3) - 1
