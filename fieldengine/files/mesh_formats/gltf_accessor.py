"""Accessors of glTF 2.0: numbers in a buffer, with strides, normalised integers and sparse values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldengine.files.mesh_formats.gltf_document import Document
from fieldengine.files.mesh_formats.polygons import Floats, unreadable

NUMBERS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}  # MAT2 and MAT3 have padding; no shape uses them


def stored(document: Document, index: int) -> NDArray[Any]:
    """The numbers of an accessor as they are stored, (count, width), sparse values put in place.

    Raises DataError for an accessor that is not whole, or whose view is compressed.
    """
    accessor = document.part("accessors", index)
    kind, count = accessor.get("componentType"), accessor.get("count")
    if kind not in NUMBERS or accessor.get("type") not in WIDTHS or not isinstance(count, int) or count < 0:
        raise unreadable(document.path, f"accessors[{index}] has a type, componentType or count that is not of glTF")
    width = WIDTHS[accessor["type"]]
    if "bufferView" in accessor:
        found = _view(document, accessor["bufferView"], accessor.get("byteOffset", 0), NUMBERS[kind], count, width)
    elif count * width > 1 << 26:
        raise unreadable(document.path, f"accessors[{index}] promises {count} values and has no data")
    else:
        found = np.zeros((count, width), dtype=NUMBERS[kind])
    sparse = accessor.get("sparse")
    if sparse is None:
        return found
    at, values = sparse["indices"], sparse["values"]
    where = _view(
        document, at["bufferView"], at.get("byteOffset", 0), NUMBERS.get(at["componentType"], "<u4"), sparse["count"], 1
    )[:, 0]
    if len(where) and where.max() >= count:
        raise unreadable(document.path, f"accessors[{index}] has sparse values beyond its {count}")
    found = found.copy()
    found[where] = _view(
        document, values["bufferView"], values.get("byteOffset", 0), NUMBERS[kind], sparse["count"], width
    )
    return found


def values(document: Document, index: int) -> Floats:
    """The numbers of an accessor as they are meant, (count, width): normalised integers in [0, 1] or [-1, 1]."""
    found = stored(document, index)
    if not document.part("accessors", index).get("normalized", False) or found.dtype.kind == "f":
        return found.astype(np.float64)
    return np.maximum(found.astype(np.float64) / np.iinfo(found.dtype).max, -1.0)


def _view(document: Document, index: int, offset: int, kind: str, count: int, width: int) -> NDArray[Any]:
    view = document.part("bufferViews", index)
    for name in view.get("extensions", {}):
        if name.endswith("_meshopt_compression"):
            raise unreadable(document.path, f"it needs the extension {name}, which is not applied. Export without it")
    document.part("buffers", view.get("buffer"))
    buffer = document.buffers[view["buffer"]]
    if buffer is None:
        raise unreadable(document.path, f"buffers[{view['buffer']}] has no data in the file")
    item = np.dtype(kind).itemsize
    stride = view.get("byteStride") or item * width
    start = view.get("byteOffset", 0) + offset
    end = view.get("byteOffset", 0) + view["byteLength"]
    needed = start + (stride * (count - 1) + item * width if count else 0)
    if needed > min(end, len(buffer)) or start < 0 or stride < item * width:
        raise unreadable(document.path, f"bufferViews[{index}] is too short for what is read from it; cut short?")
    return np.ndarray((count, width), kind, buffer, start, (stride, item))
