"""The numeric core: plain functions of tensors, one idea a file. Each is the reference; faster twins must equal it."""

from fieldengine.ops.adam import adam_where_touched
from fieldengine.ops.compositing import accumulate, composite, weights_from_alpha, weights_from_density
from fieldengine.ops.dense import ComplexDense, Dense, RealPart, bfloat16_products, dense
from fieldengine.ops.formula import (
    ComplexFunction,
    RealFunction,
    cos,
    exp,
    pointwise,
    sin,
    surrogate_gradients,
    takes_surrogate,
    tanh,
    where,
)
from fieldengine.ops.hash_grid import GridLevel, grid_levels, hash_encode, table_gradients
from fieldengine.ops.intersect import intersect_aabb
from fieldengine.ops.march import march
from fieldengine.ops.pdf import sample_pdf
from fieldengine.ops.scan import argmax_by_ray, exclusive_sum, sum_by_ray
from fieldengine.ops.sparse_gram import sparse_gram

__all__ = [
    "ComplexDense",
    "ComplexFunction",
    "Dense",
    "GridLevel",
    "RealFunction",
    "RealPart",
    "accumulate",
    "adam_where_touched",
    "argmax_by_ray",
    "bfloat16_products",
    "composite",
    "cos",
    "dense",
    "exclusive_sum",
    "exp",
    "grid_levels",
    "hash_encode",
    "intersect_aabb",
    "march",
    "pointwise",
    "sample_pdf",
    "sin",
    "sparse_gram",
    "sum_by_ray",
    "surrogate_gradients",
    "table_gradients",
    "takes_surrogate",
    "tanh",
    "weights_from_alpha",
    "weights_from_density",
    "where",
]
