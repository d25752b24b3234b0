"""Colours that are not plain RGB, and what is said where a file asks for more than its values."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

LAB_CONVERTED = "holds CIELAB colours, which are converted to sRGB"
INKS_MIXED = "holds inks (CMYK), which are mixed to RGB without a colour profile"


def profile_note(profile: bytes | None) -> tuple[str, ...]:
    """What to say of an ICC profile: nothing where its colours are those of sRGB, the plain case."""
    if not profile:
        return ()
    try:
        name = ImageCms.getProfileDescription(io.BytesIO(profile)).strip()  # pyright: ignore[reportArgumentType]
    except (ImageCms.PyCMSError, OSError):
        return ("carries a colour profile that is damaged; its values are used as stored",)
    if "srgb" in name.lower() or name.startswith("IEC 61966-2-1"):
        return ()
    return (f'has the colour profile "{name}", which is not applied; its values are used as stored',)


def mixed(inks: NDArray[Any], highest: int) -> NDArray[Any]:
    """Cyan, magenta, yellow and black (..., 4) -> RGB (..., 3), integers from 0 to `highest` both."""
    left = highest - inks.astype(np.float64)
    return np.rint(left[..., :3] * left[..., 3:] / highest).astype(inks.dtype)


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """CIELAB, whose white is D50, to sRGB."""
    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # it is None only where the image is changed in place
    return converted
