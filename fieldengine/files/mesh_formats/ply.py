"""PLY: elements with the properties its head declares, in text or in binary of either byte order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldengine.files.mesh_formats.polygons import Floats, Indices, Polygons, plural, unreadable
from fieldengine.files.mesh_formats.text import numbers, whole_number

TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"), **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"), **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"), **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("long", "int64"), "i8"), **dict.fromkeys(("ulong", "uint64"), "u8"),
    **dict.fromkeys(("float", "float32"), "f4"), **dict.fromkeys(("double", "float64"), "f8"),
}  # fmt: skip
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
CORNERS = ("vertex_indices", "vertex_index")


@dataclass(frozen=True)
class Property:
    """One value of each row, or, where `length` names the type of its count, a list of them."""

    name: str
    type: str
    length: str = ""


@dataclass(frozen=True)
class Element:
    name: str
    count: int
    properties: tuple[Property, ...]


@dataclass(frozen=True)
class Head:
    """`order` is "" for text, "<" or ">" for binary; the rows begin at byte `size` and on line `line`."""

    order: str
    elements: tuple[Element, ...]
    size: int
    line: int


@dataclass(frozen=True)
class Column:
    """A property of all rows: the values one after the other, and how many each row has."""

    values: NDArray[Any]
    sizes: Indices


def read_ply(path: Path) -> Polygons:
    """The polygons of the elements `face` and `tristrips`; other elements and properties are passed over.

    Raises DataError for a head that is not one, for a body that is shorter than its head promises, and for words that
    are no numbers.
    """
    content = path.read_bytes()
    head = _head(path, content)
    columns, notes = (_binary if head.order else _text)(path, head, content)
    vertex = columns.get("vertex", {})
    missing = [axis for axis in "xyz" if axis not in vertex]
    if missing:
        raise unreadable(path, f"its vertices have no {', '.join(missing)}")
    vertices = np.stack([np.asarray(vertex[axis].values, dtype=np.float64) for axis in "xyz"], axis=1)
    faces = _lists(path, "face", columns.get("face"))
    strips = _from_strips(_lists(path, "tristrips", columns.get("tristrips")))
    return Polygons(
        vertices,
        np.concatenate([faces.values, strips.reshape(-1)]),
        np.concatenate([faces.sizes, np.full(len(strips), 3)]),
        tuple(notes),
    )


def _head(path: Path, content: bytes) -> Head:
    lines = content[: 1 << 20].split(b"\n")
    ending = b"\r" if b"\r" in lines[0].rstrip(b"\r") else b"\n"  # a file of an old Macintosh has no line feeds
    lines = content[: 1 << 20].split(ending)
    if lines[0].strip() not in (b"ply", b"\xef\xbb\xbfply"):
        raise unreadable(path, 'it does not begin with the line "ply"')
    order, size = None, len(lines[0]) + 1
    elements: list[Element] = []
    for i, line in enumerate(lines[1:], 2):
        size += len(line) + 1
        words = line.decode("latin-1").split()
        match words:
            case ["end_header"]:
                if order is None:
                    raise unreadable(path, "its head names no format")
                return Head(order, tuple(elements), size, i)
            case ["format", name, *_]:
                if name not in ORDERS:
                    raise unreadable(path, f'line {i}: "{name}" is no format of PLY; known: {", ".join(ORDERS)}')
                order = ORDERS[name]
            case ["element", name, count] if count.isdecimal():
                if any(element.name == name for element in elements):
                    raise unreadable(path, f'line {i}: the element "{name}" is there twice')
                elements.append(Element(name, int(count), ()))
            case ["property", "list", length, kind, name] if elements and TYPES.keys() >= {length, kind}:
                if TYPES[length].startswith("f"):
                    raise unreadable(path, f"line {i}: the length of a list is {length}, not a whole number")
                elements[-1] = _with(elements[-1], Property(name, TYPES[kind], TYPES[length]))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1] = _with(elements[-1], Property(name, TYPES[kind]))
            case ["comment" | "obj_info", *_] | []:
                pass
            case _:
                said = " ".join(words)[:60]
                raise unreadable(path, f'line {i}: "{said}" is no line of a head of PLY; the file may be damaged')
    raise unreadable(path, 'its head has no "end_header"; the file is cut short')


def _with(element: Element, more: Property) -> Element:
    return Element(element.name, element.count, (*element.properties, more))


def _lists(path: Path, element: str, columns: dict[str, Column] | None) -> Column:
    """The lists of vertices of an element; none where the element is not there."""
    if columns is None or not columns:
        return Column(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    name = next((name for name in CORNERS if name in columns), None)
    if name is None:
        raise unreadable(path, f'its element "{element}" has no {" or ".join(CORNERS)}, but {", ".join(columns)}')
    values = columns[name].values
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.floor(values))).all():
        raise unreadable(path, f'its element "{element}" names vertices by numbers that are not whole')
    return Column(values.astype(np.int64), columns[name].sizes)


def _from_strips(strips: Column) -> Indices:
    """Triangles (f, 3) of strips of vertices, each triangle with the two before; -1 starts a new strip."""
    faces = []
    for strip in np.split(strips.values, np.cumsum(strips.sizes)[:-1]):
        for part in np.split(strip, np.flatnonzero(strip < 0)):
            part = part[part >= 0]
            found = np.stack([part[:-2], part[1:-1], part[2:]], axis=1) if len(part) > 2 else np.zeros((0, 3), int)
            found[1::2] = found[1::2, [1, 0, 2]]
            faces.append(found)
    return np.concatenate(faces) if faces else np.zeros((0, 3), dtype=np.int64)


def _cut_short(path: Path, element: Element, there: int) -> Exception:
    return unreadable(
        path, f'it promises {element.count} rows of "{element.name}" but holds {there}; the file is cut short'
    )


# ---------------------------------------------------------------------------------------------------------------- text


def _text(path: Path, head: Head, content: bytes) -> tuple[dict[str, dict[str, Column]], list[str]]:
    text = content[head.size :].decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    rows = [(i, words) for i, line in enumerate(text.split("\n"), head.line + 1) if (words := line.split())]
    columns, start = {}, 0
    for element in head.elements:
        mine = rows[start : start + element.count] if element.properties else []
        if len(mine) < element.count and element.properties:
            raise _cut_short(path, element, len(mine))
        start += len(mine)
        columns[element.name] = _text_columns(path, element, mine)
    more = len(rows) - start
    return columns, [f"not read: {plural(more, 'line')} after what its head promises"] if more else []


def _text_columns(path: Path, element: Element, rows: list[tuple[int, list[str]]]) -> dict[str, Column]:
    if not any(each.length for each in element.properties):
        values = _table(path, rows, len(element.properties))
        ones = np.ones(len(rows), dtype=np.int64)
        return {each.name: Column(values[:, i], ones) for i, each in enumerate(element.properties)}
    found: dict[str, list[float]] = {each.name: [] for each in element.properties}
    sizes: dict[str, list[int]] = {each.name: [] for each in element.properties}
    for line, words in rows:
        at = 0
        for each in element.properties:
            size = 1
            if each.length:
                size = whole_number(path, line, words[at]) if at < len(words) else 0
                if size < 0:
                    raise unreadable(path, f'line {line}: a list of "{element.name}" cannot have {size} values')
                at += 1
            if at + size > len(words):
                raise unreadable(
                    path, f'line {line}: "{element.name}" has {len(words)} numbers, fewer than it promises; cut short?'
                )
            found[each.name] += numbers(path, line, words[at : at + size])
            sizes[each.name].append(size)
            at += size
        if at < len(words):
            raise unreadable(path, f'line {line}: "{element.name}" has {len(words)} numbers where {at} are promised')
    return {name: Column(np.array(found[name]), np.array(sizes[name], dtype=np.int64)) for name in found}


def _table(path: Path, rows: list[tuple[int, list[str]]], width: int) -> Floats:
    for line, words in rows:
        if len(words) != width:
            raise unreadable(path, f"line {line}: found {len(words)} numbers where the head promises {width}")
    return np.array([numbers(path, line, words) for line, words in rows]).reshape(-1, width)


# -------------------------------------------------------------------------------------------------------------- binary


def _binary(path: Path, head: Head, content: bytes) -> tuple[dict[str, dict[str, Column]], list[str]]:
    columns, at = {}, head.size
    for element in head.elements:
        if any(each.length for each in element.properties):
            columns[element.name], at = _binary_lists(path, element, head.order, content, at)
        else:
            row = np.dtype([(f"{i}", head.order + each.type) for i, each in enumerate(element.properties)])
            there = (len(content) - at) // row.itemsize if row.itemsize else element.count
            if there < element.count:
                raise _cut_short(path, element, there)
            table = np.frombuffer(content, row, element.count, at) if row.itemsize else np.zeros(0, row)
            at += element.count * row.itemsize
            ones = np.ones(len(table), dtype=np.int64)
            columns[element.name] = {p.name: Column(table[f"{i}"], ones) for i, p in enumerate(element.properties)}
    more = len(content) - at
    return columns, [f"not read: {plural(more, 'byte')} after what its head promises"] if more else []


def _binary_lists(path: Path, element: Element, order: str, content: bytes, at: int) -> tuple[dict[str, Column], int]:
    """The columns of an element with lists that begins at byte `at`, and where it ends.

    As long as the lists of rows have the lengths of the row before, they are read as one table.
    """
    parts: dict[str, list[NDArray[Any]]] = {each.name: [] for each in element.properties}
    sizes: dict[str, list[Indices]] = {each.name: [] for each in element.properties}
    done = 0
    while done < element.count:
        lengths = _lengths(path, element, order, content, at, done)
        row = _row(element, order, lengths)
        # a run of like rows doubles what is looked at, so that meshes of mixed polygons stay cheap, too
        here = 1
        while True:
            table = np.frombuffer(content, row, here, at)
            same = np.ones(here, dtype=bool)
            for i, length in enumerate(lengths):
                if length is not None:
                    same &= table[f"n{i}"] == length
            like = here if same.all() else int(same.argmin())
            more = min(2 * here, element.count - done, (len(content) - at) // row.itemsize)
            if like < here or more <= here:
                break
            here = more
        for i, each in enumerate(element.properties):
            parts[each.name].append(table[f"v{i}"][:like].reshape(-1))
            sizes[each.name].append(np.full(like, 1 if lengths[i] is None else lengths[i], dtype=np.int64))
        at += like * row.itemsize
        done += like
    none = np.zeros(0, dtype=np.int64)
    joined = {
        name: Column(np.concatenate([none, *parts[name]]), np.concatenate([none, *sizes[name]])) for name in parts
    }
    return joined, at


def _lengths(path: Path, element: Element, order: str, content: bytes, at: int, done: int) -> list[int | None]:
    """The length of each list of the row at byte `at`; None for what is no list."""
    lengths: list[int | None] = []
    for each in element.properties:
        size = 1
        if each.length:
            if at + int(each.length[1]) > len(content):
                raise _cut_short(path, element, done)
            size = int(np.frombuffer(content, order + each.length, 1, at)[0])
            if size < 0:
                raise unreadable(path, f'row {done + 1} of "{element.name}" has a list of {size} values')
            at += int(each.length[1])
        lengths.append(size if each.length else None)
        at += size * int(each.type[1])
        if at > len(content):
            raise _cut_short(path, element, done)
    return lengths


def _row(element: Element, order: str, lengths: list[int | None]) -> np.dtype[Any]:
    fields: list[tuple[Any, ...]] = []
    for i, (each, length) in enumerate(zip(element.properties, lengths, strict=True)):
        if length is None:
            fields.append((f"v{i}", order + each.type, (1,)))
        else:
            fields += [(f"n{i}", order + each.length), (f"v{i}", order + each.type, (length,))]
    return np.dtype(fields)
