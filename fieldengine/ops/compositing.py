"""Emission-absorption compositing of packed samples (Max 1995; Mildenhall et al. 2020, Eq. 3).

alpha_i = 1 - exp(-sigma_i delta_i), T_i = exp(-sum_{j<i} sigma_j delta_j), w_i = T_i alpha_i: computed from optical
depths, never as a product of (1 - alpha), so that nothing is lost where a sample is opaque.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ops.scan import exclusive_sum, sum_by_ray
from fieldengine.types import Samples


def render_weights(samples: Samples, sigma: Tensor) -> Tensor:
    """The share w_i (m,) of each interval in its ray, from its density sigma (m,) per unit of length. Carries gradient.

    The weights of a ray and its remaining transmittance exp(-sum sigma delta) add up to one.
    """
    optical_depth = sigma * (samples.t_ends - samples.t_starts)
    # exp(-100) is zero in float32; without a bound one opaque ray would drown the running sums of the rays after it
    bounded = optical_depth.clamp(max=100.0)
    transmittance = torch.exp(-exclusive_sum(bounded, samples.ray_indices, samples.n_rays))
    return transmittance * -torch.expm1(-optical_depth)


def composite(
    samples: Samples, weights: Tensor, rgb: Tensor, background: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour, opacity and depth of each ray.

    Args:
        weights: (m,) of `render_weights`.
        rgb: (m, c) colour of each interval.
        background: (n, c) colour behind each ray, or None for black.

    Returns:
        colour (n, c) = sum w c + (1 - opacity) background; opacity (n,) in [0, 1]; depth (n,) = sum w t / opacity, 0
        where nothing was hit. All carry gradient.
    """
    ray_indices, n = samples.ray_indices, samples.n_rays
    colour = sum_by_ray(weights[:, None] * rgb, ray_indices, n)
    opacity = sum_by_ray(weights, ray_indices, n)
    middle = 0.5 * (samples.t_starts + samples.t_ends)
    depth = sum_by_ray(weights * middle, ray_indices, n) / opacity.clamp(min=1e-6)
    if background is not None:
        colour = colour + (1.0 - opacity)[:, None] * background
    return colour, opacity, depth
