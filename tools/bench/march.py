"""How fast are marching through an occupancy grid and compositing, forward and backward, against the reference?

65 536 rays at a shell that fills a fourteenth of a 64^3 grid, 384 steps along the diagonal.
"""

from __future__ import annotations

import os

import torch
from pair import Question, Step, main

from fieldengine.ops import composite, intersect_aabb, march, weights_from_density
from fieldengine.ops.backends import SWITCH
from fieldengine.types import Aabb, Rays

N, R = 65_536, 64


def setup() -> Step:
    generator = torch.Generator().manual_seed(0)
    origins = 4 * torch.nn.functional.normalize(torch.randn(N, 3, generator=generator), dim=-1)
    towards = 2 * torch.rand(N, 3, generator=generator) - 1
    rays = Rays(origins, torch.nn.functional.normalize(towards - origins, dim=-1))
    box, axis = Aabb.of([-1.5] * 3, [1.5] * 3), torch.linspace(-1.5, 1.5, R)
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    occupied = (torch.linalg.vector_norm(places, dim=-1) - 1).abs() < 0.08
    jitter, length = torch.rand(N, generator=generator), box.diagonal / 384
    found = march(rays, *intersect_aabb(rays, box), step=length, aabb=box, occupied=occupied, jitter=jitter)
    sigma = (30 * torch.rand(len(found), generator=generator)).requires_grad_()
    rgb = torch.rand(len(found), 3, generator=generator).requires_grad_()

    def step() -> None:
        sigma.grad = rgb.grad = None
        samples = march(rays, *intersect_aabb(rays, box), step=length, aabb=box, occupied=occupied, jitter=jitter)
        colour, opacity, _ = composite(samples, weights_from_density(samples, sigma), rgb, None)
        (colour.sum() + opacity.sum()).backward()

    return step


def reference() -> Step:
    os.environ[SWITCH] = "reference"
    return setup()


if __name__ == "__main__":
    text = "occupancy march and compositing, 65 536 rays, forward and backward"
    main(Question(text, "plain torch", "at least 15", reference, setup))
