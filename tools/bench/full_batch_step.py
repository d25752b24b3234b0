"""How long is a full-batch step on an image, against the plain torch loop everybody writes?

Nets 2-256x4-3, 512 x 512 pixels, every pixel in every step. WIRE and FINER++ Wavelet have layers of 181 complex
numbers, in the rival as complex tensors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from fits import fit_of_image, image, steps_of
from pair import Question, Step, main

from fieldengine.precision import matrix_products
from fieldengine.training.trial import choose_tile

SIDE, WIDTH, DEPTH = 512, 256, 4
COMPLEX_WIDTH = 181
SCENE = f"""
dataset: {{type: image, path: image.png}}
field: {{encoding: identity, width: {WIDTH}, depth: {DEPTH}}}
training: {{batch_size: full}}
"""


def ours(side: int, precision: str, activation: str = "finer") -> Step:
    width = WIDTH if activation == "finer" else 2 * COMPLEX_WIDTH
    fit = fit_of_image(side, SCENE, [f"field.activation={activation}", f"field.width={width}"])
    with matrix_products(precision, fit.context.device):
        fit.tile = choose_tile(fit)
    return lambda: steps_of(fit, precision)(0)


def plain_loop(width: int, dtype: torch.dtype, activate: Callable[[torch.Tensor], torch.Tensor]) -> Step:
    """The rival: one forward and backward over all pixels, activation and initialisation as published."""
    pixels = torch.from_numpy(image(SIDE)).view(-1, 3).float() / 255
    axis = torch.linspace(-1, 1, SIDE)
    x = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).view(-1, 2)
    first, last = torch.nn.Linear(2, width), torch.nn.Linear(width, 3, dtype=dtype)
    hidden = [torch.nn.Linear(width, width, dtype=dtype) for _ in range(DEPTH - 1)]
    layers = torch.nn.ModuleList([first, *hidden, last])
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-3)

    def step() -> None:
        h = x
        for layer in layers[:-1]:
            h = activate(layer(h))
        optimizer.zero_grad()
        y = last(h).real if dtype.is_complex else last(h)
        (0.5 * y + 0.5 - pixels).square().mean().backward()
        optimizer.step()

    return step


def finer_loop() -> Step:
    def activate(u: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            growth = u.abs() + 1
        return torch.sin(30 * growth * u)

    return plain_loop(WIDTH, torch.float32, activate)


def wire_loop() -> Step:
    return plain_loop(COMPLEX_WIDTH, torch.complex64, lambda u: gabor(u, 20, 10))


def wavelet_loop() -> Step:
    def activate(u: torch.Tensor) -> torch.Tensor:
        if not u.is_complex():
            with torch.no_grad():
                growth = u.abs() + 1
            return gabor(torch.sin(5 * growth * u), 4, 2)
        with torch.no_grad():
            across, up = u.real.abs() + 1, u.imag.abs() + 1
        return gabor(torch.sin(5 * torch.complex(across * u.real, up * u.imag)), 4, 2)

    return plain_loop(COMPLEX_WIDTH, torch.complex64, activate)


def gflop(width: int) -> float:
    """Of the products of one step: forward, and both factors' gradients."""
    return 6 * SIDE**2 * (2 * width + (DEPTH - 1) * width**2 + 3 * width) / 1e9


def gabor(u: torch.Tensor, omega: float, scale: float) -> torch.Tensor:
    return torch.exp(1j * omega * u - (scale * u).abs() ** 2)


def at(precision: str, activation: str = "finer") -> Callable[[], Step]:
    return lambda: ours(SIDE, precision, activation)


if __name__ == "__main__":
    loop, plane = "plain torch loop, full batch", "512 x 512 pixels"
    finer = f"full-batch step, FINER 2-256x4-3, {plane}"
    complex_step = "full-batch step, {}, layers of 181 complex numbers, precision {}"
    complex_loop, in_complex = f"{loop}, complex tensors", gflop(2 * COMPLEX_WIDTH)
    main(
        Question(f"{finer}, float32", loop, "at least 4", finer_loop, at("float32"), gflop(WIDTH)),
        Question(f"{finer}, precision auto", loop, "at least 8", finer_loop, at("auto"), gflop(WIDTH)),
        Question(f"{finer}, precision fast", loop, "", finer_loop, at("fast"), gflop(WIDTH)),
        *(
            Question(complex_step.format(name, precision), complex_loop, asked, rival, at(precision, own), in_complex)
            for name, rival, own in (
                ("WIRE", wire_loop, "wire"),
                ("FINER++ Wavelet", wavelet_loop, "finer_wavelet"),
            )
            for precision, asked in (("fast", ""), ("auto", "at least 5"))
        ),
    )
