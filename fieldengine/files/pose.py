"""Camera-to-world matrices of a file: a rotation and a place, or refused with what they look like instead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldengine.files.strict_json import Place, is_finite, shown

LAST_ROW = np.array([0.0, 0.0, 0.0, 1.0])
CLOSE = 1e-2  # how far R^T R may be from the identity: files are written with few digits
LARGEST = float(np.finfo(np.float32).max)


def read_pose(rows: Any, place: Place, key: str = "transform_matrix") -> NDArray[np.float32]:
    """A camera-to-world matrix (4, 4), or its first three rows, as (3, 4) float32.

    Raises DataError for what has another shape, is not finite, has another last row than 0 0 0 1, or whose first three
    columns are not a rotation: singular, mirrored, scaled or sheared.
    """
    matrix = _numbers(rows, place, key)
    if matrix.shape == (4, 4):
        _check_last_row(matrix, place, key)
    _check_rotation(matrix[:3, :3].astype(np.float64), place, key)
    return matrix[:3]


def _numbers(rows: Any, place: Place, key: str) -> NDArray[np.float32]:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise place.wrong(f"`{key}` is not a 4x4 matrix of numbers")
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise place.wrong(
                    f"`{key}` is not a 4x4 matrix of numbers: row {i + 1}, column {j + 1} is {shown(value)}"
                )
    if len({len(row) for row in rows}) > 1:
        raise place.wrong(f"`{key}` is not a 4x4 matrix of numbers: its rows differ in length")
    shape = (len(rows), len(rows[0]) if rows else 0)
    if shape not in ((4, 4), (3, 4)):
        raise place.wrong(f"`{key}` must be a finite 4x4 matrix, found shape {shape}")
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if not is_finite(value) or abs(value) > LARGEST:
                raise place.wrong(f"`{key}` must be a finite 4x4 matrix; row {i + 1}, column {j + 1} is {shown(value)}")
    return np.array(rows, dtype=np.float32)


def _check_last_row(matrix: NDArray[np.float32], place: Place, key: str) -> None:
    if np.allclose(matrix[3], LAST_ROW, atol=1e-5):
        return
    found = " ".join(f"{value:g}" for value in matrix[3])
    looks = np.allclose(matrix[:, 3], LAST_ROW, atol=1e-5) and _is_rotation(matrix[:3, :3].T.astype(np.float64))
    hint = ". The matrix looks transposed: write its columns as rows" if looks else ""
    raise place.wrong(f"`{key}`: its last row is not 0 0 0 1 but {found}{hint}")


def _is_rotation(axes: NDArray[np.float64]) -> bool:
    return bool(np.allclose(axes.T @ axes, np.eye(3), rtol=0, atol=CLOSE) and np.linalg.det(axes) > 0)


def _check_rotation(axes: NDArray[np.float64], place: Place, key: str) -> None:
    if _is_rotation(axes):
        return
    lengths = np.linalg.svd(axes, compute_uv=False)
    if lengths[2] <= 1e-6 * max(lengths[0], 1e-30):
        raise place.wrong(f"`{key}` is singular; its first three columns must be a rotation")
    head = f"the first three columns of `{key}` are not a rotation"
    if np.linalg.det(axes) < 0:
        raise place.wrong(f"{head} (mirrored)")
    if lengths[0] - lengths[2] < CLOSE * lengths[0]:
        factor = float(lengths.mean())
        raise place.wrong(f"{head} (scaled or sheared): all are {factor:.4g} long. Divide them by {factor:.4g}")
    raise place.wrong(f"{head} (scaled or sheared)")
