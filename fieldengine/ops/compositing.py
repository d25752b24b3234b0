"""Emission-absorption compositing of packed samples (Max 1995; Mildenhall et al. 2020, Eq. 3).

alpha_i = 1 - exp(-sigma_i delta_i), T_i = prod_{j<i} (1 - alpha_j) = exp(-sum_{j<i} sigma_j delta_j), w_i = T_i
alpha_i. No gradient divides by 1 - alpha, so an opaque sample is like any other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fieldengine.ops.operation import operation
from fieldengine.ops.scan import exclusive_sum, sum_by_ray
from fieldengine.types import Samples


@operation
def weights_from_density(samples: Samples, sigma: Tensor) -> Tensor:
    """The share w_i (m,) of each interval in its ray, from its density sigma (m,) per unit of length. Carries gradient.

    The weights of a ray and its remaining transmittance exp(-sum sigma delta) add up to one.
    """
    optical_depth = sigma * (samples.t_ends - samples.t_starts)
    # exp(-100) is zero in float32; without a bound one opaque ray would drown the running sums of the rays after it
    bounded = optical_depth.clamp(max=100.0)
    transmittance = torch.exp(-exclusive_sum.reference(bounded, samples.ray_indices, samples.n_rays))
    return transmittance * -torch.expm1(-optical_depth)


@operation
def weights_from_alpha(samples: Samples, alpha: Tensor) -> Tensor:
    """The share w_i (m,) of each interval in its ray, from its opacity alpha (m,) in [0, 1].

    Carries gradient, at full opacity too.
    """
    counts = torch.bincount(samples.ray_indices, minlength=samples.n_rays)
    first = counts.cumsum(0) - counts
    place = torch.arange(len(samples), device=alpha.device) - first[samples.ray_indices]
    longest = int(counts.max()) if samples.n_rays else 0
    # one row a ray, shifted by one, so that the running product up to a sample leaves that sample out
    passed = alpha.new_ones(samples.n_rays, longest + 1).index_put((samples.ray_indices, place + 1), 1.0 - alpha)
    return passed.cumprod(dim=1)[samples.ray_indices, place] * alpha


@operation
def accumulate(samples: Samples, weights: Tensor, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over each ray: of w c (n, c), of w (n,), and of w t at the intervals' middles (n,). Carries gradient."""
    ray_indices, n = samples.ray_indices, samples.n_rays
    middle = 0.5 * (samples.t_starts + samples.t_ends)
    return (
        sum_by_ray.reference(weights[:, None] * rgb, ray_indices, n),
        sum_by_ray.reference(weights, ray_indices, n),
        sum_by_ray.reference(weights * middle, ray_indices, n),
    )


def composite(
    samples: Samples, weights: Tensor, rgb: Tensor, background: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour, opacity and depth of each ray.

    Args:
        weights: (m,) of `weights_from_density` or `weights_from_alpha`.
        rgb: (m, c) colour of each interval.
        background: (n, c) colour behind each ray, or None for black.

    Returns:
        colour (n, c) = sum w c + (1 - opacity) background; opacity (n,) in [0, 1]; depth (n,) = sum w t / opacity, 0
        where nothing was hit. All carry gradient.
    """
    colour, opacity, depth = accumulate(samples, weights, rgb)
    if background is not None:
        colour = colour + (1.0 - opacity)[:, None] * background
    return colour, opacity, depth / opacity.clamp(min=1e-6)
