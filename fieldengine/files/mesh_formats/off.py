"""Object File Format: counts, vertices, polygons, one a line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from fieldengine.files.mesh_formats.polygons import Polygons, plural, unreadable
from fieldengine.files.mesh_formats.text import lines_of, numbers, text_of, whole_number, whole_numbers


def read_off(path: Path) -> Polygons:
    """The polygons of OFF, COFF, NOFF, STOFF and their mixtures; colours, normals and texture coordinates pass.

    Raises DataError for the binary and the four-dimensional variants, for a file that is cut short, and, with the line,
    for what is no number or no vertex.
    """
    content = path.read_bytes()
    if re.match(rb"\s*(ST)?C?N?4?n?OFF[ \t]+BINARY", content):
        raise unreadable(path, "it is a binary OFF, which is not read. Save it as text, or as .ply")
    lines = [(i, words) for i, line in enumerate(lines_of(text_of(path, content)), 1) if (words := _words(line))]
    # a few programs leave no space between the keyword and the counts
    head = re.fullmatch(r"(?:(?:ST)?C?N?(4?)(n?)OFF|off)(.*)", " ".join(lines[0][1])) if lines else None
    if head is None:
        raise unreadable(path, 'it does not begin with "OFF"')
    if head[1] or head[2]:
        raise unreadable(path, f'"{lines[0][1][0]}" has vertices of another dimension than three, which are not read')
    body = [(lines[0][0], head[3].split()), *lines[1:]] if head[3].strip() else lines[1:]
    if not body or len(body[0][1]) < 2:
        raise unreadable(path, "after OFF the numbers of vertices and faces are missing")
    n_vertices, n_faces = (whole_number(path, body[0][0], word) for word in body[0][1][:2])
    rows = body[1:]
    if min(n_vertices, n_faces) < 0:
        raise unreadable(path, f"it promises {n_vertices} vertices and {n_faces} faces")
    if len(rows) < n_vertices + n_faces:
        there = f"{min(len(rows), n_vertices)} vertices and {max(0, len(rows) - n_vertices)} faces"
        raise unreadable(
            path, f"it promises {n_vertices} vertices and {n_faces} faces but holds {there}; the file is cut short"
        )
    vertices = np.array([_position(path, line, words) for line, words in rows[:n_vertices]], dtype=np.float64).reshape(
        -1, 3
    )
    faces = [_face(path, line, words, n_vertices) for line, words in rows[n_vertices : n_vertices + n_faces]]
    more = len(rows) - n_vertices - n_faces
    notes = (f"not read: {plural(more, 'line')} after the {n_faces} faces it promises",) if more else ()
    corners = np.array([corner for face in faces for corner in face], dtype=np.int64)
    return Polygons(vertices, corners, np.array([len(face) for face in faces], dtype=np.int64), notes)


def _words(line: str) -> list[str]:
    return line.partition("#")[0].split()


def _position(path: Path, line: int, words: list[str]) -> list[float]:
    if len(words) < 3:
        raise unreadable(path, f"line {line}: a vertex needs three numbers, found {len(words)}; it may be cut short")
    return numbers(path, line, words[:3])


def _face(path: Path, line: int, words: list[str], n_vertices: int) -> list[int]:
    """The corners of one polygon; what follows them on the line is a colour."""
    size = whole_number(path, line, words[0])
    if size < 0 or len(words) < 1 + size:
        raise unreadable(path, f"line {line}: a face promises {size} corners but has {len(words) - 1}; cut short?")
    corners = whole_numbers(path, line, words[1 : 1 + size])
    if corners and not 0 <= min(corners) <= max(corners) < n_vertices:
        wrong = next(corner for corner in corners if not 0 <= corner < n_vertices)
        raise unreadable(path, f"line {line}: a face names vertex {wrong}, beyond the {n_vertices} there are")
    return corners
