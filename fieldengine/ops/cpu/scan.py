"""Sums and maxima over packed samples on the CPU: `fieldengine.ops.scan`, each ray walked by one thread."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldengine.ops import scan as reference
from fieldengine.ops.cpu.gradients import by_reference
from fieldengine.ops.cpu.jit import jit, run_parts, whole_rays


def exclusive_sum(values: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor:
    return ExclusiveSum.apply(values, ray_indices, n_rays)


def sum_by_ray(values: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor:
    return SumByRay.apply(values, ray_indices, n_rays)


def argmax_by_ray(values: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor:
    out = torch.full((n_rays,), -1)
    rays = ray_indices.contiguous().numpy()
    run_parts(_argmax, whole_rays(rays), values.detach().contiguous().numpy(), rays, out.numpy())
    return out


class ExclusiveSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor:
        ctx.save_for_backward(values, ray_indices)
        ctx.n_rays = n_rays
        return _sums_on_one_side(values, ray_indices, reverse=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, ray_indices = ctx.saved_tensors
        if torch.is_grad_enabled():
            return by_reference(reference.exclusive_sum.reference, (values, ray_indices, ctx.n_rays), grads)
        return _sums_on_one_side(grads[0], ray_indices, reverse=True), None, None


def _sums_on_one_side(values: Tensor, ray_indices: Tensor, *, reverse: bool) -> Tensor:
    """Of the samples before each, or after each, on its own ray."""
    out = torch.empty_like(values, memory_format=torch.contiguous_format)
    rays = ray_indices.contiguous().numpy()
    run_parts(_sums, whole_rays(rays), values.contiguous().numpy(), rays, reverse, out.numpy())
    return out


class SumByRay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ray_indices: Tensor, n_rays: int) -> Tensor:
        ctx.save_for_backward(ray_indices)
        out = torch.zeros((n_rays, *values.shape[1:]), dtype=values.dtype)
        rays, width = ray_indices.contiguous().numpy(), math.prod(values.shape[1:])
        rows = values.contiguous().view(len(values), width)
        run_parts(_sum, whole_rays(rays), rows.numpy(), rays, out.view(n_rays, width).numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (ray_indices,) = ctx.saved_tensors
        return grads[0].index_select(0, ray_indices), None, None


@jit
def _sums(first, last, values, ray_indices, reverse, out):
    total = np.float64(0.0)
    for j in range(first, last):
        k = first + last - 1 - j if reverse else j
        if j > first and ray_indices[k] != ray_indices[k + 1 if reverse else k - 1]:
            total = np.float64(0.0)
        out[k] = total
        total += values[k]


@jit
def _sum(first, last, values, ray_indices, out):
    for i in range(first, last):
        for channel in range(values.shape[1]):
            out[ray_indices[i], channel] += values[i, channel]


@jit
def _argmax(first, last, values, ray_indices, out):
    for i in range(first, last):
        best = out[ray_indices[i]]
        if best < 0 or values[i] > values[best]:
            out[ray_indices[i]] = i
