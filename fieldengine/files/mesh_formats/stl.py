"""STL, in text and binary: triangles without shared vertices."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from fieldengine.files.mesh_formats.polygons import Floats, Polygons, plural, unreadable
from fieldengine.files.mesh_formats.text import lines_of, numbers, text_of

HEAD, RECORD = 84, 50  # bytes
FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(path: Path) -> Polygons:
    """The triangles of all solids. Colours are passed over; a facet's winding counts, not its stored normal.

    Whether a file is text or binary shows in its content; many binary files begin with "solid", too. Raises DataError
    for a file that is cut short.
    """
    content = path.read_bytes()
    fits = len(content) >= HEAD and len(content) == HEAD + RECORD * int.from_bytes(content[80:84], "little")
    if not fits and re.match(rb"(\xef\xbb\xbf)?\s*solid\b", content, re.IGNORECASE) and b"\0" not in content:
        return _text(path, content)
    if not fits and content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _text(path, content)
    return _binary(path, content)


def _binary(path: Path, content: bytes) -> Polygons:
    if len(content) < HEAD:
        raise unreadable(path, 'it neither begins with "solid" nor is it long enough for a binary STL')
    promised = int.from_bytes(content[80:HEAD], "little")
    there, rest = divmod(len(content) - HEAD, RECORD)
    notes = []
    if there < promised < 1 << 31 or (promised >= 1 << 31 and rest):  # an unknown number is written as 0 or as -1
        raise unreadable(path, f"it promises {promised} triangles but has room for {there}; the file is cut short")
    if rest and there == promised:
        notes.append(f"not read: {plural(rest, 'byte')} after the {promised} triangles it promises")
    elif rest and promised:
        notes.append(
            f"not read: {len(content) - HEAD - RECORD * promised} bytes after the {promised} triangles it promises"
        )
        there = promised
    elif rest:
        raise unreadable(path, f"it promises no triangle, and its {len(content)} bytes fit no number of them")
    elif there != promised:
        notes.append(f"it promises {promised} triangles but its size is that of {there}, which were read")
    records = np.frombuffer(content, FACET, there, HEAD)
    corners = records["corners"].astype(np.float64)
    notes += _against_normals(corners, records["normal"].astype(np.float64))
    return Polygons.of_triangles(corners.reshape(-1, 3), np.arange(3 * there).reshape(-1, 3), tuple(notes))


def _text(path: Path, content: bytes) -> Polygons:
    positions: list[list[float]] = []
    normals: list[list[float]] = []
    sizes: list[int] = []
    depth: list[str] = []  # what is open: solid, facet, loop
    for line, text in enumerate(lines_of(text_of(path, content)), 1):
        words = text.split()
        word = words[0].lower() if words else ""
        if word == "vertex":
            if len(words) != 4 or depth[-1:] != ["loop"]:
                raise unreadable(path, f"line {line}: a vertex needs three numbers within a loop; it may be cut short")
            positions.append(numbers(path, line, words[1:]))
            sizes[-1] += 1
        elif word == "outer":
            depth.append("loop")
            sizes.append(0)
        elif word == "facet":
            depth.append("facet")
            normals.append(numbers(path, line, words[2:]) if len(words) == 5 else [0.0, 0.0, 0.0])
        elif word == "solid":
            depth.append("solid")
        elif word in ("endloop", "endfacet", "endsolid"):
            if depth[-1:] != [word.removeprefix("end")]:
                raise unreadable(path, f'line {line}: "{word}" closes what is not open; the file is damaged')
            depth.pop()
        elif word:
            raise unreadable(path, f'line {line}: "{word[:20]}" is no word of STL; the file may be cut short')
    if depth:
        raise unreadable(path, f'it ends without "end{depth[-1]}"; the file is cut short')
    vertices = np.array(positions, dtype=np.float64).reshape(-1, 3)
    counts = np.array(sizes, dtype=np.int64)
    notes = []
    if len(sizes) == len(normals) and (counts == 3).all():
        notes = _against_normals(vertices.reshape(-1, 3, 3), np.array(normals).reshape(-1, 3))
    return Polygons(vertices, np.arange(len(vertices)), counts, tuple(notes))


def _against_normals(corners: Floats, normals: Floats) -> list[str]:
    """A note where stored normals say that a facet faces the other way than its corners do."""
    with np.errstate(invalid="ignore", over="ignore"):  # a normal may be NaN; corners are checked later
        wound = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        lengths = np.linalg.norm(wound, axis=1) * np.linalg.norm(normals, axis=1)
        against = int((np.einsum("ij,ij->i", wound, normals) < -0.5 * lengths).sum())
    if not against:
        return []
    return [f"the normals of {against} of {len(corners)} facets point against the order of their corners, which counts"]
