"""Compositing on the CPU: `fieldengine.ops.compositing`, each ray walked once forward and once back.

With R_i the light that comes from behind sample i, as seen from there, R_i = g_{i+1} alpha_{i+1} + (1 - alpha_{i+1})
R_{i+1}: the gradient in alpha_i of sum g w is T_i (g_i - R_i), without a division by 1 - alpha_i.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fieldengine.ops import compositing as reference
from fieldengine.ops.cpu.gradients import by_reference
from fieldengine.ops.cpu.jit import jit, run_parts, whole_rays
from fieldengine.types import Samples


def weights_from_density(samples: Samples, sigma: Tensor) -> Tensor:
    return weights_from_alpha(samples, -torch.expm1(-sigma * (samples.t_ends - samples.t_starts)))


def weights_from_alpha(samples: Samples, alpha: Tensor) -> Tensor:
    return Weights.apply(samples, alpha)


def accumulate(samples: Samples, weights: Tensor, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return Accumulate.apply(samples, weights, rgb)


class Weights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, samples: Samples, alpha: Tensor) -> Tensor:
        rays, alphas = _rays(samples), alpha.contiguous()
        transmittance = torch.empty_like(alphas)
        run_parts(_transmittance, whole_rays(rays), alphas.numpy(), rays, transmittance.numpy())
        ctx.samples = samples
        ctx.save_for_backward(alpha, transmittance)
        return transmittance * alphas

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        alpha, transmittance = ctx.saved_tensors
        if torch.is_grad_enabled():
            return by_reference(reference.weights_from_alpha.reference, (ctx.samples, alpha), grads)
        rays, alphas, g = _rays(ctx.samples), alpha.contiguous(), grads[0].contiguous()
        out = torch.empty_like(alphas)
        run_parts(_weights_back, whole_rays(rays), alphas.numpy(), transmittance.numpy(), rays, g.numpy(), out.numpy())
        return None, out


class Accumulate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, samples: Samples, weights: Tensor, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, rays, c = samples.n_rays, _rays(samples), rgb.contiguous()
        colour, opacity, depth = (torch.zeros(shape, dtype=rgb.dtype) for shape in ((n, rgb.shape[1]), n, n))
        ends = samples.t_starts.contiguous().numpy(), samples.t_ends.contiguous().numpy()
        outputs = colour.numpy(), opacity.numpy(), depth.numpy()
        run_parts(_accumulate, whole_rays(rays), rays, *ends, weights.contiguous().numpy(), c.numpy(), *outputs)
        ctx.samples = samples
        ctx.save_for_backward(weights, rgb)
        return colour, opacity, depth

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, rgb = ctx.saved_tensors
        samples = ctx.samples
        if torch.is_grad_enabled():
            return by_reference(reference.accumulate.reference, (samples, weights, rgb), grads)
        rays = _rays(samples)
        ends = samples.t_starts.contiguous().numpy(), samples.t_ends.contiguous().numpy()
        inputs = weights.contiguous().numpy(), rgb.contiguous().numpy(), *(g.contiguous().numpy() for g in grads)
        for_weights = torch.empty_like(weights, memory_format=torch.contiguous_format)
        for_rgb = torch.empty_like(rgb, memory_format=torch.contiguous_format)
        parts = whole_rays(rays)
        run_parts(_accumulate_back, parts, rays, *ends, *inputs, for_weights.numpy(), for_rgb.numpy())
        return None, for_weights, for_rgb


def _rays(samples: Samples) -> Any:
    return samples.ray_indices.contiguous().numpy()


@jit
def _transmittance(first, last, alpha, ray_indices, out):
    one = alpha.dtype.type(1)
    left = one
    for i in range(first, last):
        if i > first and ray_indices[i] != ray_indices[i - 1]:
            left = one
        out[i] = left
        left *= one - alpha[i]


@jit
def _weights_back(first, last, alpha, transmittance, ray_indices, g, out):
    one = alpha.dtype.type(1)
    behind = one - one
    for i in range(last - 1, first - 1, -1):
        if i < last - 1 and ray_indices[i] != ray_indices[i + 1]:
            behind = one - one
        out[i] = transmittance[i] * (g[i] - behind)
        behind = g[i] * alpha[i] + (one - alpha[i]) * behind


@jit
def _accumulate(first, last, ray_indices, t_starts, t_ends, weights, rgb, colour, opacity, depth):
    half = weights.dtype.type(0.5)
    for i in range(first, last):
        ray, w = ray_indices[i], weights[i]
        for channel in range(rgb.shape[1]):
            colour[ray, channel] += w * rgb[i, channel]
        opacity[ray] += w
        depth[ray] += w * (half * (t_starts[i] + t_ends[i]))


@jit
def _accumulate_back(
    first, last, ray_indices, t_starts, t_ends, weights, rgb, g_colour, g_opacity, g_depth, for_weights, for_rgb
):
    half = weights.dtype.type(0.5)
    for i in range(first, last):
        ray, w = ray_indices[i], weights[i]
        total = g_opacity[ray] + g_depth[ray] * (half * (t_starts[i] + t_ends[i]))
        for channel in range(rgb.shape[1]):
            total += g_colour[ray, channel] * rgb[i, channel]
            for_rgb[i, channel] = w * g_colour[ray, channel]
        for_weights[i] = total
