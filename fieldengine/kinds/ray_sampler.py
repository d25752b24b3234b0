"""Ray samplers: they place samples along rays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Module, Verb
from fieldengine.kinds.probe import described, has_methods, is_module, on_trial
from fieldengine.kinds.renderer import check_losses, check_max_batch
from fieldengine.types import Aabb, Rays, Samples

Density = Callable[[Tensor], Tensor]  # (m, 3) in own coordinates -> (m,) >= 0 per unit of length


class RaySamplerOptions(Protocol):
    """Options of a ray sampler. `build` may name aabb."""

    def build(self, *, aabb: Aabb) -> RaySampler: ...


class RaySampler(Module, Protocol):
    """The working ray sampler, an nn.Module; its buffers are checkpointed, its parameters are trained."""

    def sample(self, rays: Rays, query: Density, generator: Generator | None) -> Samples:
        """Intervals along n rays.

        May ask the field for densities, or networks of its own. What stages before the last one found goes into
        `Samples.stages`, for `losses`. With a generator, which lives on the run's device, the samples are jittered,
        without they are fixed.
        """
        ...

    def losses(self, samples: Samples, weights: Tensor) -> Mapping[str, Tensor]:
        """Losses that train the sampler, name -> (n_rays,), with the sampler's own factors; empty where there are none.

        Args:
            samples: as `sample` returned them.
            weights: (m,) share of each of them in its ray's colour.
        """
        ...

    def max_batch(self, wanted: int) -> int:
        """How many of `wanted` rays one training step can afford."""
        ...

    def update(self, query: Density, step: int, generator: Generator) -> None:
        """Refresh what the sampler remembers of the field; called once before each training step."""
        ...


def check_ray_sampler(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where what was built is no ray sampler, or its samples are not packed as `Samples` says."""
    is_module(found, "build", "a ray sampler")
    has_methods(
        found,
        "a ray sampler",
        sample=("rays", "query", "generator"),
        losses=("samples", "weights"),
        max_batch=("wanted",),
        update=("query", "step", "generator"),
    )
    check_max_batch(found.max_batch(8), 8)
    aabb: Aabb = known["aabb"]
    if aabb.dim != 3:
        return
    rays, state = rays_through(aabb), {name: value.clone() for name, value in found.state_dict().items()}
    for generator in (None, torch.Generator()):
        samples = on_trial(found, lambda g=generator: found.sample(rays, _ones, g))
        check_samples(samples, len(rays))
        check_losses(on_trial(found, lambda s=samples: found.losses(s, torch.ones(len(s)))), len(rays))
    found.load_state_dict(state)


def _ones(x: Tensor) -> Tensor:
    return torch.ones_like(x[:, 0])


def rays_through(aabb: Aabb) -> Rays:
    """Two rays through a box and one that misses it."""
    lower, size = aabb.lower.cpu(), aabb.size.cpu()
    eye = lower - size
    targets = lower + size * torch.tensor([[0.3, 0.4, 0.5], [0.6, 0.5, 0.4], [-9.0, 5.0, 5.0]])
    return Rays(eye.expand(3, 3), torch.nn.functional.normalize(targets - eye, dim=-1))


def check_samples(samples: Any, n_rays: int) -> None:
    """Raise PluginError where intervals are not packed: of one length, rays in ascending order, none backwards."""
    if not isinstance(samples, Samples):
        raise PluginError(f"expected sample(rays, query, generator) to return Samples, found {described(samples)}")
    index = samples.ray_indices
    lengths = {"t_starts": samples.t_starts.shape, "t_ends": samples.t_ends.shape, "ray_indices": index.shape}
    if len(set(lengths.values())) > 1 or index.ndim != 1:
        listing = ", ".join(f"{name} {tuple(shape)}" for name, shape in lengths.items())
        raise PluginError(f"expected t_starts, t_ends and ray_indices of one length, each (m,); found {listing}")
    if index.dtype != torch.int64:
        raise PluginError(f"expected int64 ray_indices, found {described(index)}")
    if samples.n_rays != n_rays:
        raise PluginError(f"expected samples of {n_rays} rays, found n_rays {samples.n_rays}")
    if len(index) and (bool((index[1:] < index[:-1]).any()) or int(index[0]) < 0 or int(index[-1]) >= n_rays):
        raise PluginError(f"expected ray_indices in ascending order from 0 to {n_rays - 1}; found others")
    if bool((samples.t_ends < samples.t_starts).any()):
        raise PluginError("expected samples that end after they start; some end before")


KIND = Kind(
    group="ray_samplers",
    word="ray sampler",
    options=RaySamplerOptions,
    verbs={"build": Verb(("aabb",), (), check_ray_sampler)},
    default="occupancy",
)
