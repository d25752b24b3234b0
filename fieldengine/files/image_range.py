"""From stored numbers to values: range, straight alpha, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldengine.errors import DataError
from fieldengine.files.image_formats.stored import Stored

SLACK = 1e-3  # relative; half floats have 11 bits, and colour divided by alpha may pass 1 by as much


def values_of(path: Path, stored: Stored, value_range: tuple[float, float] | None) -> NDArray[Any]:
    """(height, width, channels): uint8 or uint16 where these hold the numbers exactly, else float32; straight alpha.

    Arithmetic is in float64. Raises DataError for numbers that are not finite, have no range, or leave it.
    """
    found, highest = stored.values, stored.highest
    if found.ndim != 3 or not 1 <= found.shape[2] <= 4:
        raise DataError(path, f"is an array of shape {found.shape}; expected height, width and 1 to 4 channels")
    colour = found[..., :-1] if stored.has_alpha else found
    _require_finite(path, found)
    if value_range is None and highest is None and found.dtype.kind in "iu":
        raise DataError(
            path,
            f"holds {found.dtype} numbers from {colour.min()} to {colour.max()}, and no convention says which of them "
            f"mean 0 and 1. Set `dataset.value_range: [{colour.min()}, {colour.max()}]`, or other numbers",
        )
    if value_range is None and highest is not None and not stored.premultiplied:
        return _exact(found, highest)
    if value_range is None and not stored.premultiplied:
        _alpha(path, stored)
        return found.astype(np.float32)
    straight = colour.astype(np.float64)
    alpha = _alpha(path, stored)
    if stored.premultiplied and alpha is not None:
        straight = _divided(straight, alpha, highest)
    if value_range is not None:
        straight = _scaled(path, straight, value_range)
        highest = highest if stored.has_alpha and highest is None else None
    elif highest is not None:
        straight /= highest
    joined = straight if alpha is None else np.concatenate([straight, alpha], axis=-1)
    if value_range is None and highest in (255, 65535):
        return np.rint(joined * highest).astype(found.dtype)
    return joined.astype(np.float32)


def lost_light(stored: Stored) -> tuple[str, ...]:
    """What to say of pixels with colour but no opacity: dividing by alpha cannot keep them."""
    if not stored.premultiplied:
        return ()
    count = int(((stored.values[..., -1] == 0) & (stored.values[..., :-1] > 0).any(axis=-1)).sum())
    return (f"holds colour without opacity in {count:,} pixels, which become black",) if count else ()


def require_unit_range(path: Path, values: NDArray[Any], remedy: str) -> None:
    """Raises DataError for floats outside [0, 1], with the range found; `remedy` says what to do."""
    if values.dtype.kind == "f" and values.size and (values.min() < 0 or values.max() > 1):
        raise DataError(
            path, f"holds values from {values.min():.6g} to {values.max():.6g}; 0 to 1 is expected. {remedy}"
        )


def _exact(found: NDArray[Any], highest: int) -> NDArray[Any]:
    """Numbers from 0 to `highest` -> bytes or words where these have an exact place for each, else floats."""
    for kind, top in ((np.uint8, 255), (np.uint16, 65535)):
        if top % highest == 0:
            return found.astype(kind) * kind(top // highest)
    return (found / np.float64(highest)).astype(np.float32)


def _alpha(path: Path, stored: Stored) -> NDArray[np.float64] | None:
    """Alpha in [0, 1], (height, width, 1)."""
    if not stored.has_alpha:
        return None
    alpha = stored.values[..., -1:].astype(np.float64) / (stored.highest or 1)
    if alpha.min() < 0 or alpha.max() > 1:
        found = f"from {alpha.min():.6g} to {alpha.max():.6g}"
        raise DataError(path, f"holds alpha {found}; 0 to 1 is expected. Scale it in the file, or leave it out")
    return alpha


def _divided(colour: NDArray[np.float64], alpha: NDArray[np.float64], highest: int | None) -> NDArray[np.float64]:
    """Colour times alpha -> colour; black where nothing is seen. It ends at `highest`, or at 1 where it means 1."""
    straight = np.divide(colour, alpha, out=np.zeros_like(colour), where=alpha > 0)
    if highest is not None:
        return straight.clip(max=highest)
    return np.where((straight > 1) & (straight <= 1 + SLACK), 1.0, straight)


def _scaled(path: Path, colour: NDArray[np.float64], value_range: tuple[float, float]) -> NDArray[np.float64]:
    low, high = value_range
    found = (float(colour.min()), float(colour.max()))
    if found[0] < low or found[1] > high:
        raise DataError(
            path,
            f"holds values from {found[0]:.6g} to {found[1]:.6g}, beyond `dataset.value_range: [{low:g}, {high:g}]`. "
            "Widen it",
        )
    return (colour - low) / (high - low)


def _require_finite(path: Path, values: NDArray[Any]) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(axis=-1).sum())
        pixels = values.shape[0] * values.shape[1]
        raise DataError(path, f"holds values that are not finite (NaN or infinity) in {bad:,} of {pixels:,} pixels")
