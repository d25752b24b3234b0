"""Wavefront OBJ: polygons by index, counted from the first vertex or back from the last one read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fieldengine.files.mesh_formats.polygons import Floats, Indices, Polygons, plural, unreadable
from fieldengine.files.mesh_formats.text import lines_of, number, text_of, whole_number

FREE_FORM = ("surf", "bzp", "bsp", "cdc", "cdp", "res")
LINES = ("l", "p", "curv", "curv2")
NO_SHAPE = (
    "vt", "vn", "vp", "g", "o", "s", "mg", "usemtl", "mtllib", "usemap", "maplib", "bevel", "c_interp", "d_interp",
    "lod", "shadow_obj", "trace_obj", "ctech", "stech", "cstype", "deg", "bmat", "step", "parm", "trim", "hole", "scrv",
    "sp", "end", "con",
)  # fmt: skip


def read_obj(path: Path) -> Polygons:
    """The polygons of all groups and objects; materials, texture coordinates and normals are passed over.

    A vertex may carry a weight, a colour, or both. Raises DataError, with the line, for indices of no vertex, for words
    that are no numbers, and for free-form surfaces and calls of other files.
    """
    text = text_of(path, path.read_bytes())
    vertices: list[str] = []
    vertex_lines: list[int] = []
    faces: list[str] = []
    face_lines: list[int] = []
    before: list[int] = []  # vertices read when each face was
    n_lines, strange = 0, []
    for line, statement in _statements(text):
        word, _, rest = statement.partition(" ")
        if word == "v":
            vertices.append(rest)
            vertex_lines.append(line)
        elif word in ("f", "fo"):
            faces.append(rest)
            face_lines.append(line)
            before.append(len(vertices))
        elif word in LINES:
            n_lines += 1
        elif word in FREE_FORM:
            raise unreadable(
                path, f'line {line}: "{word}" makes a free-form surface, which is not read. Export triangles instead'
            )
        elif word in ("call", "csh"):
            raise unreadable(path, f'line {line}: "{word}" runs another file, which is not done. Export one file')
        elif word not in NO_SHAPE:
            strange.append((line, word))
    notes = []
    if strange:
        line, word = strange[0]
        notes.append(
            f'{plural(len(strange), "line is", "lines are")} no statement of OBJ (first "{word[:20]}", line {line})'
        )
    if n_lines:
        notes.append(
            f"left out: {plural(n_lines, 'line, point or curve', 'lines, points or curves')}, which bound no solid"
        )
    positions, weighted = _positions(path, vertices, vertex_lines)
    if weighted:
        notes.append(
            f"{plural(weighted, 'vertex has', 'vertices have')} a weight other than 1, for curves; it is not used"
        )
    corners, sizes = _corners(path, faces, face_lines, np.array(before, dtype=np.int64), len(positions))
    return Polygons(positions, corners, sizes, tuple(notes))


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement with the number of its first line: comments off, lines that end in a backslash joined."""
    first, joined = 0, ""
    for line, part in enumerate(lines_of(text), 1):
        part = part.partition("#")[0].rstrip()
        first = first if joined else line
        if part.endswith("\\"):
            joined += part[:-1] + " "
            continue
        statement = (joined + part).replace("\t", " ").strip()
        joined = ""
        if statement:
            yield first, statement
    if joined.strip():
        yield first, joined.strip()


def _positions(path: Path, vertices: list[str], lines: list[int]) -> tuple[Floats, int]:
    """x, y, z of each vertex (v, 3), and how many carry a weight other than 1."""
    rows = [vertex.split() for vertex in vertices]
    for row, line in zip(rows, lines, strict=True):
        if len(row) not in (3, 4, 6, 7):  # alone; with a weight; with a colour; with both, or a colour with alpha
            raise unreadable(
                path, f"line {line}: a vertex of {plural(len(row), 'number')}; 3, 4, 6 or 7 are understood"
            )
    try:
        if any("_" in vertex for vertex in vertices):
            raise ValueError
        found = np.array([list(map(float, row[:3])) for row in rows], dtype=np.float64).reshape(-1, 3)
        return found, sum(float(row[3]) != 1 for row in rows if len(row) == 4)
    except ValueError:
        for row, line in zip(rows, lines, strict=True):
            for word in row[:4]:
                number(path, line, word)
        raise


def _corners(path: Path, faces: list[str], lines: list[int], before: Indices, n: int) -> tuple[Indices, Indices]:
    """Index from 0 of each corner's vertex, of `n`, and the sizes of the polygons."""
    # of v/vt/vn the first is the vertex
    rows = [re.sub(r"/\S*", "", face).split() for face in faces]
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    try:
        said = np.array([int(word) for row in rows for word in row], dtype=np.int64)
    except (ValueError, OverflowError):
        for row, line in zip(rows, lines, strict=True):
            for word in row:
                whole_number(path, line, word)
        raise unreadable(path, "a face names a vertex beyond any number") from None
    there = np.repeat(before, sizes)
    corners = np.where(said > 0, said - 1, there + said)
    wrong = np.flatnonzero((said == 0) | (corners < 0) | (corners >= n))
    if len(wrong):
        line = lines[int(np.searchsorted(np.cumsum(sizes), wrong[0], side="right"))]
        known = f"{there[wrong[0]]} vertices before it" if said[wrong[0]] < 0 else f"{n} vertices"
        why = "counts from 1, so there is no vertex 0" if said[wrong[0]] == 0 else f"of {known}"
        raise unreadable(path, f"line {line}: a face names vertex {said[wrong[0]]} {why}; the file may be cut short")
    return corners, sizes
