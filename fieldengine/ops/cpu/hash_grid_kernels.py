"""Kernels of the hash grid, in blocks of points, level by level.

A block is first prepared by short loops over neighbouring points, which the compiler turns into vector code: the rows
of each cell's 2^d vertices, and per axis the two weights, their slope and its slope. Only then is the table touched, so
that its cache misses overlap. Weights grow axis by axis from 1 to 2^d; gradients in x shrink the vertices' values axis
by axis from 2^d to 1. Vertex c lies on the upper side of axis a where bit a of c is set.
"""

from __future__ import annotations

import numpy as np

from fieldengine.ops import hash_grid as reference
from fieldengine.ops.cpu.jit import jit

BLOCK = 128  # points whose rows and weights fit the first-level cache, 4-D included
PRIMES = np.array(reference.PRIMES, dtype=np.uint32)


@jit
def _room(x, axes):
    """What `_locate` fills: rows, shares (for itself), sides, slopes, bends."""
    d = len(axes)
    rows, shares = np.empty((1 << d, BLOCK), np.uint32), np.empty((2, BLOCK), np.uint32)
    sides, slopes = np.empty((d, 2, BLOCK), x.dtype), np.empty((d, BLOCK), x.dtype)
    return rows, shares, sides, slopes, np.empty((d, BLOCK), x.dtype)


@jit
def _locate(x, start, count, axes, scale, level, smooth, rows, shares, sides, slopes, bends):
    """Fill rows (2^d, BLOCK), sides (d, 2, BLOCK), and slopes and bends (d, BLOCK), derivatives of the upper side.

    A position that is not a number gets the cell of the origin and weights that are not numbers.
    """
    resolution, size, dense = level[0], level[2], level[3] != 0
    one, half = x.dtype.type(1), x.dtype.type(0.5)
    zero, two, three, six = one - one, one + one, one + one + one, x.dtype.type(6)
    top, stride = np.uint32(resolution - 1), np.uint32(1)
    mask = np.uint32(0xFFFFFFFF) if dense else np.uint32(size - 1)
    for a in range(len(axes)):
        places, low, high = x[a, start : start + count], shares[0], shares[1]
        lower, upper, slope, bend = sides[a, 0], sides[a, 1], slopes[a], bends[a]
        for k in range(count):
            v = places[k]
            slope[k] = scale if (v >= zero) & (v <= one) else zero
            v = one if v > one else (zero if v < zero else v)
            p = v * scale + half
            cell = np.int32(p if p == p else zero)
            upper[k] = p - x.dtype.type(cell)
            low[k] = np.uint32(cell)
        factor = stride if dense else PRIMES[a]
        for k in range(count):
            cell = low[k]
            low[k] = np.uint32(cell * factor) & mask
            high[k] = np.uint32(min(np.uint32(cell + np.uint32(1)), top) * factor) & mask
        for k in range(count):
            w = upper[k]
            if smooth:
                bend[k] = (six - two * six * w) * slope[k] * slope[k]
                slope[k] = six * w * (one - w) * slope[k]
                w = w * w * (three - two * w)
                upper[k] = w
            else:
                bend[k] = zero
            lower[k] = one - w
        if a == 0:
            for k in range(count):
                rows[0, k] = low[k]
                rows[1, k] = high[k]
        else:
            for c in range(1 << a):
                below, above = rows[c], rows[c + (1 << a)]
                if dense:
                    for k in range(count):
                        row = below[k]
                        above[k] = np.uint32(row + high[k])
                        below[k] = np.uint32(row + low[k])
                else:
                    for k in range(count):
                        row = below[k]
                        above[k] = row ^ high[k]
                        below[k] = row ^ low[k]
        stride = np.uint32(stride * np.uint32(resolution))


@jit
def _weigh(along, start, count, axes, tangent, sides, slopes, weights, changes):
    """Fill weights (2^d, BLOCK), products of sides; and, if `tangent`, changes: their derivatives along a direction."""
    for k in range(count):
        weights[0, k] = sides[0, 0, k]
        weights[1, k] = sides[0, 1, k]
    if tangent:
        for k in range(count):
            change = slopes[0, k] * along[0, start + k]
            changes[0, k] = -change
            changes[1, k] = change
    for a in range(1, len(axes)):
        lower, upper, slope, way = sides[a, 0], sides[a, 1], slopes[a], along[a, start : start + count]
        for c in range(1 << a):
            below, above = weights[c], weights[c + (1 << a)]
            if tangent:
                change_below, change_above = changes[c], changes[c + (1 << a)]
                for k in range(count):
                    change, other = change_below[k], below[k] * slope[k] * way[k]
                    change_above[k] = change * upper[k] + other
                    change_below[k] = change * lower[k] - other
            for k in range(count):
                weight = below[k]
                above[k] = weight * upper[k]
                below[k] = weight * lower[k]


@jit
def gather(first, last, x, axes, along, tangent, table, features, scales, levels, smooth, out):
    """Features of points first..last-1, or, if `tangent`, their derivatives along a direction."""
    n_corners = 1 << len(axes)
    rows, shares, sides, slopes, bends = _room(x, axes)
    weights, changes = np.empty((n_corners, BLOCK), x.dtype), np.empty((n_corners, BLOCK), x.dtype)
    used = changes if tangent else weights
    for number in range(len(scales)):
        entries = table[levels[number, 1] : levels[number, 1] + levels[number, 2]]
        for start in range(first, last, BLOCK):
            count = min(BLOCK, last - start)
            _locate(x, start, count, axes, scales[number], levels[number], smooth, rows, shares, sides, slopes, bends)
            _weigh(along, start, count, axes, tangent, sides, slopes, weights, changes)
            for k in range(count):
                if len(features) % 2:
                    total = x.dtype.type(0)
                    for c in range(n_corners):
                        total += used[c, k] * entries[rows[c, k], len(features) - 1]
                    out[start + k, (number + 1) * len(features) - 1] = total
                for f in range(0, len(features) - 1, 2):  # in pairs, which share the reading of row and weight
                    even, odd = x.dtype.type(0), x.dtype.type(0)
                    for c in range(n_corners):
                        row, weight = rows[c, k], used[c, k]
                        even += weight * entries[row, f]
                        odd += weight * entries[row, f + 1]
                    out[start + k, number * len(features) + f] = even
                    out[start + k, number * len(features) + f + 1] = odd


@jit
def scatter(first, last, x, axes, along, tangent, table, features, scales, levels, smooth, g):
    """Add to levels first..last-1 of the table its gradient from g (m, L F), the cotangents of what `gather` gives."""
    n_corners = 1 << len(axes)
    rows, shares, sides, slopes, bends = _room(x, axes)
    weights, changes = np.empty((n_corners, BLOCK), x.dtype), np.empty((n_corners, BLOCK), x.dtype)
    used = changes if tangent else weights
    for number in range(first, last):
        entries = table[levels[number, 1] : levels[number, 1] + levels[number, 2]]
        for start in range(0, x.shape[1], BLOCK):
            count = min(BLOCK, x.shape[1] - start)
            _locate(x, start, count, axes, scales[number], levels[number], smooth, rows, shares, sides, slopes, bends)
            _weigh(along, start, count, axes, tangent, sides, slopes, weights, changes)
            for k in range(count):
                if len(features) % 2:
                    one = g[start + k, (number + 1) * len(features) - 1]
                    for c in range(n_corners):
                        entries[rows[c, k], len(features) - 1] += used[c, k] * one
                for f in range(0, len(features) - 1, 2):
                    even, odd = g[start + k, number * len(features) + f], g[start + k, number * len(features) + f + 1]
                    for c in range(n_corners):
                        row, weight = rows[c, k], used[c, k]
                        entries[row, f] += weight * even
                        entries[row, f + 1] += weight * odd


@jit
def list_entries(
    first, last, x, axes, along, tangent, table, features, scales, levels, smooth, g, found_rows, found_values
):
    """`scatter` as a list: the row and the value of each vertex of each point."""
    n_corners = 1 << len(axes)
    rows, shares, sides, slopes, bends = _room(x, axes)
    weights, changes = np.empty((n_corners, BLOCK), x.dtype), np.empty((n_corners, BLOCK), x.dtype)
    for number in range(first, last):
        for start in range(0, x.shape[1], BLOCK):
            count = min(BLOCK, x.shape[1] - start)
            _locate(x, start, count, axes, scales[number], levels[number], smooth, rows, shares, sides, slopes, bends)
            _weigh(along, start, count, axes, tangent, sides, slopes, weights, changes)
            for k in range(count):
                entry = (number * x.shape[1] + start + k) * n_corners
                for c in range(n_corners):
                    found_rows[entry + c] = levels[number, 1] + np.int64(rows[c, k])
                    for f in range(len(features)):
                        found_values[entry + c, f] = weights[c, k] * g[start + k, number * len(features) + f]


@jit
def pull_back(first, last, x, axes, along, tangent, table, features, scales, levels, smooth, g, out):
    """Add to out (d, m) the gradient in x, from g as in `scatter`, of what `gather` gives for points first..last-1."""
    d, n_corners = len(axes), 1 << len(axes)
    rows, shares, sides, slopes, bends = _room(x, axes)
    # of <g, features>: its value, derivative along `along`, gradient, and the gradient of that derivative
    value, change = np.empty((n_corners, BLOCK), x.dtype), np.empty((n_corners, BLOCK), x.dtype)
    gradient, bent = np.empty((d, n_corners, BLOCK), x.dtype), np.empty((d, n_corners, BLOCK), x.dtype)
    for number in range(len(scales)):
        entries = table[levels[number, 1] : levels[number, 1] + levels[number, 2]]
        for start in range(first, last, BLOCK):
            count = min(BLOCK, last - start)
            _locate(x, start, count, axes, scales[number], levels[number], smooth, rows, shares, sides, slopes, bends)
            for k in range(count):
                for c in range(n_corners):
                    row, total = rows[c, k], x.dtype.type(0)
                    for f in range(len(features)):
                        total += g[start + k, number * len(features) + f] * entries[row, f]
                    value[c, k] = total
            if tangent:
                change[:] = 0
            for a in range(d - 1, -1, -1):
                way = along[a, start : start + count]
                for c in range(1 << a):
                    _shrink(c, a, d, count, tangent, way, sides[a], slopes[a], bends[a], value, change, gradient, bent)
            for a in range(d):
                into, found = out[a, start : start + count], bent[a, 0] if tangent else gradient[a, 0]
                for k in range(count):
                    into[k] += found[k]


@jit
def _shrink(c, a, d, count, tangent, way, sides, slope, bend, value, change, gradient, bent):
    """Interpolate along axis a between vertices c and c + 2^a; what depends on c alone stays in row c."""
    lower, upper = sides[0], sides[1]
    v0, v1, g = value[c], value[c + (1 << a)], gradient[a, c]
    for b in range(a + 1, d):
        g0, g1 = gradient[b, c], gradient[b, c + (1 << a)]
        if tangent:
            h0, h1 = bent[b, c], bent[b, c + (1 << a)]
            for k in range(count):
                h0[k] = lower[k] * h0[k] + upper[k] * h1[k] + way[k] * slope[k] * (g1[k] - g0[k])
        for k in range(count):
            g0[k] = lower[k] * g0[k] + upper[k] * g1[k]
    if tangent:
        d0, d1, h = change[c], change[c + (1 << a)], bent[a, c]
        for k in range(count):
            rise = v1[k] - v0[k]
            h[k] = slope[k] * (d1[k] - d0[k]) + way[k] * bend[k] * rise
            d0[k] = lower[k] * d0[k] + upper[k] * d1[k] + way[k] * slope[k] * rise
    for k in range(count):
        g[k] = slope[k] * (v1[k] - v0[k])
        v0[k] = lower[k] * v0[k] + upper[k] * v1[k]
