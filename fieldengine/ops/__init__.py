"""The numeric core: plain functions of tensors, one idea a file. Each is the reference that faster twins must equal."""

from fieldengine.ops.compositing import composite, render_weights
from fieldengine.ops.hash_grid import GridLevel, grid_levels, hash_encode
from fieldengine.ops.intersect import intersect_aabb
from fieldengine.ops.march import march
from fieldengine.ops.scan import exclusive_sum, sum_by_ray

__all__ = [
    "GridLevel",
    "composite",
    "exclusive_sum",
    "grid_levels",
    "hash_encode",
    "intersect_aabb",
    "march",
    "render_weights",
    "sum_by_ray",
]
