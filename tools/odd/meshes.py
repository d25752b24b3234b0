"""Mesh files of every format, polygon, index style, precision, scale and flaw, each with the solid it describes."""

from __future__ import annotations

import io
import itertools
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odd.case import Case

from fieldengine.datasets.mesh import orient
from fieldengine.datasets.mesh_surface import MeshSurface
from fieldengine.errors import DataError
from fieldengine.files.mesh import read_mesh

Array = NDArray[Any]


@dataclass(frozen=True)
class Solid:
    """Polygons, counter-clockwise seen from outside, and what is known of the solid without them.

    `inside` and `outside` are points of which that is known; a fan in place of a polygon gets one of them wrong.
    """

    name: str
    vertices: Array
    polygons: list[list[int]]
    volume: float
    area: float
    inside: Array
    outside: Array

    def moved(self, scale: float = 1.0, shift: float = 0.0) -> Solid:
        places = [(part + shift) * scale for part in (self.vertices, self.inside, self.outside)]
        return Solid(
            self.name, places[0], self.polygons, self.volume * scale**3, self.area * scale**2, places[1], places[2]
        )

    def placed(self, matrix: Array) -> Solid:
        """The solid after a matrix (4, 4) that turns it and scales it evenly."""
        scale = float(np.cbrt(abs(np.linalg.det(matrix[:3, :3]))))
        places = [part @ matrix[:3, :3].T + matrix[:3, 3] for part in (self.vertices, self.inside, self.outside)]
        return Solid(
            self.name, places[0], self.polygons, self.volume * scale**3, self.area * scale**2, places[1], places[2]
        )


# -------------------------------------------------------------------------------------------------------------- solids


def prism(name: str, outline: list[tuple[float, float]], inside: list[Any], outside: list[Any]) -> Solid:
    """The solid of height 1 over a polygon; volume and area by the shoelace formula and the perimeter."""
    at, n = np.array(outline, dtype=float), len(outline)
    after = np.roll(at, -1, axis=0)
    base = 0.5 * float((at[:, 0] * after[:, 1] - at[:, 1] * after[:, 0]).sum())
    around = float(np.linalg.norm(after - at, axis=1).sum())
    vertices = np.vstack([np.c_[at, np.zeros(n)], np.c_[at, np.ones(n)]])
    sides = [[i, (i + 1) % n, n + (i + 1) % n, n + i] for i in range(n)]
    ends = [list(range(n))[::-1], list(range(n, 2 * n))]
    points = [np.array([[x, y, 0.5] for x, y in part]) for part in (inside, outside)]
    return Solid(name, vertices, ends + sides, base, 2 * base + around, *points)


def star(name: str, tips: int) -> Solid:
    angles = np.arange(2 * tips) * np.pi / tips
    radii = np.where(np.arange(2 * tips) % 2, 0.7, 2.0)
    notch = (1.2 * np.cos(angles[1]), 1.2 * np.sin(angles[1]))
    outline = [(float(r * np.cos(a)), float(r * np.sin(a))) for r, a in zip(radii, angles, strict=True)]
    return prism(name, outline, [(0.0, 0.0), (1.5, 0.0)], [notch, (2.5, 0.0)])


def solids() -> list[Solid]:
    comb = [(0, 0), (5, 0), (5, 2), (4, 2), (4, 1), (3, 1), (3, 2), (2, 2), (2, 1), (1, 1), (1, 2), (0, 2)]
    return [
        prism("box", [(0, 0), (2, 0), (2, 1), (0, 1)], [(1, 0.5)], [(2.5, 0.5)]),
        prism("wedge", [(0, 0), (2, 0), (0, 1)], [(0.5, 0.3)], [(1.5, 0.8)]),
        prism("hexagon", [(2, 0), (1, 1), (-1, 1), (-2, 0), (-1, -1), (1, -1)], [(0, 0)], [(1.8, 0.8)]),
        prism("arrow", [(0, 0), (2, -1), (0.5, 0), (2, 1)], [(0.3, 0)], [(1.0, 0), (1.8, 0)]),
        prism("el", [(2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 0)], [(0.5, 1.5), (1.5, 0.5)], [(1.2, 1.2)]),
        prism("comb", [(float(x), float(y)) for x, y in comb], [(0.5, 1.5), (2.5, 1.5)], [(1.5, 1.5), (3.5, 1.5)]),
        prism("straight", [(0, 0), (1, 0), (2, 0), (2, 0.5), (2, 1), (0, 1)], [(1, 0.5)], [(2.5, 0.5)]),
        star("star", 5),
    ]


def block() -> Solid:
    """Triangles of a box of 2 x 1 x 1 around the origin, for formats that know no polygons."""
    vertices = np.array([(x, y, z) for x in (-1, 1) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], dtype=float)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    triangles = [part for a, b, c, d in quads for part in ([a, b, c], [a, c, d])]
    return Solid("block", vertices, triangles, 2.0, 10.0, np.zeros((1, 3)), np.array([[1.5, 0, 0], [0, 0.8, 0]]))


# --------------------------------------------------------------------------------------------------------------- judges


def right(path: Path, solid: Solid, note: str = "", digits: float = 1e-6) -> str:
    """Whether a file was read as its solid, and with the note that is due."""
    try:
        mesh = read_mesh(path)
    except DataError as reason:
        return f"WRONG: refused ({reason})"
    faces, said = orient(mesh.vertices, mesh.faces)
    a, b, c = (mesh.vertices[faces[:, i]] for i in range(3))
    middle = mesh.vertices.mean(0)
    volume = float(np.einsum("ij,ij->", a - middle, np.cross(b - middle, c - middle))) / 6
    area = 0.5 * float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
    used = solid.vertices[sorted({corner for polygon in solid.polygons for corner in polygon})]
    size = np.ptp(used, axis=0).max()
    for what, found, wanted, unit in (
        ("volume", volume, solid.volume, size**3), ("area", area, solid.area, size**2),
        ("lower corner", mesh.vertices.min(0), used.min(0), size),
        ("upper corner", mesh.vertices.max(0), used.max(0), size),
    ):  # fmt: skip
        if np.abs(np.asarray(found) - wanted).max() > digits * 10 * unit:
            return f"WRONG: {what} {found}, expected {wanted}"
    surface = MeshSurface(mesh.vertices, faces)
    if not (surface.signed_distance(solid.inside) < 0).all():
        return "WRONG: a point inside is said to lie outside"
    if not (surface.signed_distance(solid.outside) > 0).all():
        return "WRONG: a point outside is said to lie inside"
    notes = " ".join((*mesh.notes, *said))
    if note not in notes or (not note and notes):
        return f'WRONG: it said "{notes}", expected "{note}"'
    return "right"


def refused(path: Path, reason: str) -> str:
    """Whether a file was refused for this reason."""
    try:
        read_mesh(path)
    except DataError as said:
        return f"refused: {reason}" if reason in str(said) else f"WRONG: refused for another reason ({said})"
    return "WRONG: read without a word"


# -------------------------------------------------------------------------------------------------------------- writers


def obj(solid: Solid, corner: str = "{0}", indices: str = "from the first", more: str = "") -> str:
    """`corner` has a place for the index of a vertex; interleaved, each polygon's own vertices stand before it."""
    vertex = "v {!r} {!r} {!r}" + more
    at = [vertex.format(*map(float, v)) for v in solid.vertices]
    n = len(at)
    side = ["vt 0.5 0.5", "vn 0 0 1"]
    if indices == "interleaved":
        lines = []
        for polygon in solid.polygons:
            lines += [at[i] for i in polygon]
            lines.append("f " + " ".join(corner.format(i - len(polygon)) for i in range(len(polygon))))
        return "\n".join([*side, *lines]) + "\n"
    shift = 1 if indices == "from the first" else -n
    faces = ["f " + " ".join(corner.format(i + shift) for i in polygon) for polygon in solid.polygons]
    return "\n".join([*side, *at, *faces]) + "\n"


def off(solid: Solid, head: str = "OFF\n{} {} 0\n", vertex: str = "", face: str = "") -> str:
    lines = ["{!r} {!r} {!r}".format(*map(float, v)) + vertex for v in solid.vertices]
    lines += [" ".join(map(str, [len(p), *p])) + face for p in solid.polygons]
    return head.format(len(solid.vertices), len(solid.polygons)) + "\n".join(lines) + "\n"


LETTERS = {
    "char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d",
    "uint8": "B", "int32": "i", "uint32": "I", "float64": "d",
}  # fmt: skip


def ply(solid: Solid, order: str, real: str = "float", length: str = "uchar", index: str = "int") -> bytes:
    head = ["ply", f"format {order} 1.0", f"element vertex {len(solid.vertices)}"]
    head += [f"property {real} {axis}" for axis in "xyz"] + [f"element face {len(solid.polygons)}"]
    head += [f"property list {length} {index} vertex_indices", "end_header", ""]
    rows: list[tuple[str, list[Any]]] = [(LETTERS[real] * 3, v) for v in solid.vertices.tolist()]
    rows += [(LETTERS[length] + LETTERS[index] * len(p), [len(p), *p]) for p in solid.polygons]
    if order == "ascii":
        return ("\n".join(head) + "".join(" ".join(map(repr, values)) + "\n" for _, values in rows)).encode()
    sign = "<" if order == "binary_little_endian" else ">"
    return "\n".join(head).encode() + b"".join(struct.pack(sign + letters, *values) for letters, values in rows)


def stl(solid: Solid, head: bytes = b"by a script", count: int | None = None) -> bytes:
    n = len(solid.polygons)
    corners = solid.vertices[np.array(solid.polygons)].astype("<f4")
    body = b"".join(bytes(12) + corner.tobytes() + b"\0\0" for corner in corners)
    return head.ljust(80) + struct.pack("<I", n if count is None else count) + body


def stl_text(solid: Solid, solids: int = 1) -> str:
    parts = []
    for polygons in np.array_split(np.array(solid.polygons), solids):
        parts.append("solid part\n")
        for polygon in polygons:
            corners = "".join("vertex {!r} {!r} {!r}\n".format(*map(float, solid.vertices[i])) for i in polygon)
            parts.append(f"facet normal 0 0 0\nouter loop\n{corners}endloop\nendfacet\n")
        parts.append("endsolid part\n")
    return "".join(parts)


def glb(json_of: dict[str, Any], blocks: list[Array], strides: dict[int, int] | None = None) -> bytes:
    """A binary glTF whose buffer view i holds block i, with that stride if one is given."""
    data, views = b"", []
    for i, values in enumerate(blocks):
        stride = (strides or {}).get(i, 0)
        part = b"".join(row.tobytes().ljust(stride, b"\xee") for row in values)
        data += bytes(-len(data) % 4)
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(part)})
        views[-1] |= {"byteStride": stride} if stride else {}
        data += part
    data += bytes(-len(data) % 4)
    whole = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": len(data)}], "bufferViews": views}
    text = json.dumps(whole | json_of).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}


def gltf_scene(
    positions: Array, indices: list[Array], mode: int = 4, **node: Any
) -> tuple[dict[str, Any], list[Array]]:
    """One node with one mesh of as many primitives as there are arrays of indices."""

    def accessor(view: int, values: Array, kind: str) -> dict[str, Any]:
        number = COMPONENTS[values.dtype.str[1:]]
        return {"bufferView": view, "componentType": number, "count": len(values), "type": kind}

    accessors = [accessor(0, positions, "VEC3"), *(accessor(i, at, "SCALAR") for i, at in enumerate(indices, 1))]
    primitives = [{"attributes": {"POSITION": 0}, "indices": i, "mode": mode} for i in range(1, len(indices) + 1)]
    scene = {
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, **node}], "meshes": [{"primitives": primitives}],
        "accessors": accessors,
    }  # fmt: skip
    return scene, [positions, *indices]


# ---------------------------------------------------------------------------------------------------------------- cases


def cases(folder: Path) -> Iterator[Case]:
    """Writes the files of all cases into a folder and yields them."""
    for make in (_objs, _offs, _plys, _stls, _gltfs, _packages, _scales, _flaws, _refusals):
        for number, (name, content, judge) in enumerate(make()):
            kind = name.split()[0].lower()
            path = folder / f"{make.__name__.strip('_')}_{number}.{kind}"
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            yield Case(name, path, judge)


Made = Iterator[tuple[str, str | bytes, Callable[[Path], str]]]


def _objs() -> Made:
    styles = ("from the first", "from the last", "interleaved")
    corners = ("{0}", "{0}/1", "{0}//1", "{0}/1/1")
    for (i, solid), indices in itertools.product(enumerate(solids()), styles):
        corner = corners[i % 4]
        yield f"OBJ {solid.name} {indices} {corner}", obj(solid, corner, indices), partial(right, solid=solid)
    el = solids()[4]
    judge = partial(right, solid=el)
    for corner, indices in itertools.product(corners, styles):
        yield f"OBJ el {indices} {corner}", obj(el, corner, indices), judge
    text = obj(el)
    yield "OBJ byte order mark", b"\xef\xbb\xbf" + text.encode(), judge
    yield "OBJ UTF-16", text.encode("utf-16"), judge
    yield "OBJ CRLF", text.replace("\n", "\r\n"), judge
    yield "OBJ continued", text.replace("f 1 2 ", "f 1 2 \\\n").replace("f 6 5 ", "f 6 5 \\\r\n"), judge
    yield "OBJ colours", obj(el, more=" 0.5 0.5 0.5"), judge
    yield "OBJ weights", obj(el, more=" 1.0"), judge
    yield "OBJ weights other than one", obj(el, more=" 0.5"), partial(right, solid=el, note="a weight other than 1")
    yield "OBJ lines", text + "l 1 2\n", partial(right, solid=el, note="left out: 1 line")
    yield "OBJ groups", "mtllib a.mtl\no a\ng b\nusemtl c\ns 1\n" + text, judge


def _offs() -> Made:
    heads = {
        "plain": ("OFF\n{} {} 0\n", "", ""), "one line": ("OFF {} {} 0\n", "", ""),
        "no space": ("OFF{} {} 0\n", "", ""),
        "colours": ("COFF\n{} {} 0\n", " 255 0 0 255", " 0.5 0.5 0.5"), "normals": ("NOFF\n{} {} 0\n", " 0 0 1", " 3"),
        "texture": ("STOFF\n# made\n\n{} {}\n", " 0.5 0.5", " # face"),
    }  # fmt: skip
    for solid in solids():
        yield f"OFF {solid.name}", off(solid), partial(right, solid=solid)
    for solid, (name, (head, vertex, face)) in itertools.product((solids()[4], solids()[7]), heads.items()):
        yield f"OFF {solid.name} {name}", off(solid, head, vertex, face), partial(right, solid=solid)


def _plys() -> Made:
    orders = ("ascii", "binary_little_endian", "binary_big_endian")
    types = (
        ("float", "uchar", "int"),
        ("float64", "int", "uint"),
        ("double", "uint8", "ushort"),
        ("float", "short", "char"),
    )
    for (i, solid), order in itertools.product(enumerate(solids()), orders):
        kinds = types[i % 4]
        yield f"PLY {solid.name} {order} {kinds}", ply(solid, order, *kinds), partial(right, solid=solid)
    el = solids()[4]
    for order, kinds in itertools.product(orders, types):
        yield f"PLY el {order} {kinds}", ply(el, order, *kinds), partial(right, solid=el)
        if order == "ascii":
            crlf = ply(el, order, *kinds).replace(b"\n", b"\r\n")
            yield f"PLY el CRLF {kinds}", crlf, partial(right, solid=el)
        more = ply(el, order, *kinds) + b"3 0 1 2\n"
        yield f"PLY el {order} {kinds} and more", more, partial(right, solid=el, note="not read: ")


def _stls() -> Made:
    solid = block()
    judge = partial(right, solid=solid)
    sized = partial(right, solid=solid, note="its size is that of 12")
    yield "STL binary", stl(solid), judge
    yield "STL binary that begins with solid", stl(solid, b"solid by a script"), judge
    yield "STL text", stl_text(solid), judge
    yield "STL text of three solids", stl_text(solid, 3), judge
    yield "STL text in capitals", stl_text(solid).upper(), judge
    yield "STL text CRLF", stl_text(solid).replace("\n", "\r\n"), judge
    yield "STL binary without a count", stl(solid, count=0), sized
    yield "STL binary without a count, solid", stl(solid, b"solid", count=0), sized
    yield "STL binary of unknown count", stl(solid, count=0xFFFFFFFF), sized
    yield "STL binary with too low a count", stl(solid, count=3), sized
    yield "STL binary and more", stl(solid) + b"tail", partial(right, solid=solid, note="not read: 4 bytes")


def _gltfs() -> Made:
    solid = block()
    flat = np.array(solid.polygons).reshape(-1)
    judge = partial(right, solid=solid)
    for kind in ("u1", "u2", "u4"):
        yield f"GLB indices {kind}", glb(*gltf_scene(solid.vertices.astype("f4"), [flat.astype(kind)])), judge
    for kind, normalised in itertools.product(("i1", "u1", "i2", "u2"), (True, False)):
        most, low = np.iinfo(kind).max, -np.iinfo(kind).max if kind[0] == "i" else 0
        stored = np.where(solid.vertices > 0, most, low).astype(kind)
        unit = 1.0 if normalised else float(most)
        edges = np.array([2.0, 2.0, 2.0]) if low else np.ones(3)
        cube = Solid(
            "cube", stored / most * unit, solid.polygons, float(edges.prod()) * unit**3, 6 * edges[0] ** 2 * unit**2,
            np.array([[0.5, 0.5, 0.5]]) * unit, np.array([[1.5, 0.5, 0.5]]) * unit,
        )  # fmt: skip
        scene, blocks = gltf_scene(stored, [flat.astype("u2")])
        scene["accessors"][0]["normalized"] = normalised
        scene["extensionsRequired"] = ["KHR_mesh_quantization"]
        made = glb(scene, blocks, {0: 4 * stored.dtype.itemsize})
        yield f"GLB positions {kind} normalised {normalised}", made, partial(right, solid=cube)
    strip = np.array([0, 1, 2, 3, 6, 7, 4, 5, 0, 1], dtype="u2")
    quads = [[1, 5, 7, 3], [0, 2, 6, 4]]
    all_quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], *quads]
    at = solid.vertices.astype("f4")
    yield "GLB fans", glb(*gltf_scene(at, [np.array(q, dtype="u2") for q in all_quads], 6)), judge
    ends = [np.array([a, b, d, c], dtype="u2") for a, b, c, d in quads]
    yield "GLB strips", glb(*gltf_scene(at, [strip, *ends], 5)), judge
    where, values = np.arange(4, 8, dtype="u1"), (solid.vertices[4:] + [2, 0, 0]).astype("f4")
    scene, blocks = gltf_scene(at, [flat.astype("u2")])
    scene["accessors"][0]["sparse"] = {
        "count": 4, "indices": {"bufferView": 2, "componentType": 5121}, "values": {"bufferView": 3}
    }  # fmt: skip
    longer = Solid(
        "longer", np.vstack([solid.vertices[:4], values]), solid.polygons, 4, 18, np.ones((1, 3)) * 0.1,
        np.array([[3.5, 0, 0]]),
    )  # fmt: skip
    yield "GLB sparse", glb(scene, [*blocks, where, values]), partial(right, solid=longer)
    for name, node, transform in _transforms():
        placed = solid.placed(transform)
        made = glb(*gltf_scene(at, [flat.astype("u2")], **node))
        yield f"GLB {name}", made, partial(right, solid=placed)


def _transforms() -> Iterator[tuple[str, dict[str, Any], Array]]:
    """Nodes that scale by 1.5, and their matrices."""
    half = float(np.sqrt(0.5))
    turns = {
        "x": ([half, 0, 0, half], [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        "y": ([0, half, 0, half], [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
        "z": ([0, 0, half, half], [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
        "none": ([0, 0, 0, 1], np.eye(3)),
    }
    for (axis, (quaternion, turn)), mirror in itertools.product(turns.items(), (1.0, -1.0)):
        scale = np.array([1.5 * mirror, 1.5, 1.5])
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(turn) * scale
        matrix[:3, 3] = 4, 5, 6
        parts = {"translation": [4, 5, 6], "rotation": quaternion, "scale": scale.tolist()}
        yield f"turned about {axis}, mirror {mirror:g}, in parts", parts, matrix
        yield f"turned about {axis}, mirror {mirror:g}, as a matrix", {"matrix": matrix.T.reshape(-1).tolist()}, matrix


def three_mf(solid: Solid, unit: str = "millimeter", transform: str = "", components: int = 0) -> bytes:
    """A package whose build places a solid by a transform, below as many nested components as asked for."""
    vertices = "".join("<vertex x='{!r}' y='{!r}' z='{!r}'/>".format(*map(float, v)) for v in solid.vertices)
    triangles = "".join("<triangle v1='{}' v2='{}' v3='{}'/>".format(*t) for t in solid.polygons)
    mesh = f"<mesh><vertices>{vertices}</vertices><triangles>{triangles}</triangles></mesh>"
    objects = f"<object id='0'>{mesh}</object>"
    for i in range(components):
        objects += f"<object id='{i + 1}'><components><component objectid='{i}'/></components></object>"
    place = f"transform='{transform}'" if transform else ""
    space = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
    model = f"<resources>{objects}</resources><build><item objectid='{components}' {place}/></build>"
    link = "<Relationships><Relationship Id='r' Type='http://a/3dmodel' Target='/3D/a.model'/></Relationships>"
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_rels/.rels", link)
        archive.writestr("3D/a.model", f"<model unit='{unit}' xmlns='{space}'>{model}</model>")
    return held.getvalue()


def _packages() -> Made:
    solid = block()
    for unit in ("micron", "millimeter", "centimeter", "inch", "foot", "meter"):
        yield f"3MF in {unit}", three_mf(solid, unit), partial(right, solid=solid)
    yield "3MF in cubits", three_mf(solid, "cubit"), partial(refused, reason='its unit is "cubit"')
    whole = three_mf(solid)
    yield "3MF cut", whole[: len(whole) // 2], partial(refused, reason="damaged or cut short")
    for (name, _, matrix), components in itertools.product(_transforms(), (0, 2)):
        if "in parts" in name:
            placed = solid.placed(matrix)
            rows = " ".join(repr(float(v)) for v in [*matrix[:3, :3].T.reshape(-1), *matrix[:3, 3]])
            made = three_mf(solid, transform=rows, components=components)
            yield f"3MF {name}, {components} components", made, partial(right, solid=placed)


def _scales() -> Made:
    for scale in (1e-12, 1.5e-7, 1e-3, 1e7, 1e12):
        solid = block().moved(scale)
        judge = partial(right, solid=solid)
        yield f"OBJ block x {scale:g}", obj(solid), judge
        yield f"OFF block x {scale:g}", off(solid), judge
        yield f"PLY block x {scale:g}", ply(solid, "binary_little_endian", "float"), judge
        yield f"STL block x {scale:g}", stl(solid), judge
        flat = np.array(solid.polygons, dtype="u2").reshape(-1)
        yield f"GLB block x {scale:g}", glb(*gltf_scene(solid.vertices.astype("f4"), [flat])), judge
    for shift in (1e3, 1e6, 1e9):
        solid = solids()[4].moved(1.0, shift)
        judge = partial(right, solid=solid, digits=max(1e-6, 1e-15 * shift))
        yield f"OBJ el + {shift:g}", obj(solid), judge
        for order in ("ascii", "binary_big_endian"):
            yield f"PLY el + {shift:g} {order}", ply(solid, order, "double"), judge


def _flaws() -> Made:
    for solid in (solids()[4], solids()[7]):
        back = [polygon[::-1] for polygon in solid.polygons]
        faults = {
            "inside out": (back, "they were turned outward"),
            "written for both sides": ([*solid.polygons, *back], "one of each was kept"),
            "written twice": ([*solid.polygons, *solid.polygons], "one of each was kept"),
            "one side twice": ([*solid.polygons, solid.polygons[3]], "one of each was kept"),
            "with an edge as a face": ([*solid.polygons, [0, 1]], "left out: 1 face of fewer than three corners"),
            "with a corner twice": ([[p[0], *p] for p in solid.polygons], ""),
        }
        for name, (polygons, note) in faults.items():
            flawed = Solid(solid.name, solid.vertices, polygons, *_known(solid))
            judge = partial(right, solid=flawed, note=note)
            yield f"OBJ {solid.name} {name}", obj(flawed), judge
            yield f"OFF {solid.name} {name}", off(flawed), judge
            yield f"PLY {solid.name} {name}", ply(flawed, "binary_little_endian", "double"), judge
    two = block()
    n = len(two.vertices)
    pair = Solid(
        "pair", np.vstack([two.vertices, two.vertices + [2, 0, 0]]),
        two.polygons + [[i + n for i in p] for p in two.polygons],
        4.0, 18.0, np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]]), np.array([[3.5, 0, 0]]),
    )  # fmt: skip
    yield (
        "OBJ two solids that touch",
        obj(pair),
        partial(right, solid=pair, note="are walls within the solid and were left out"),
    )
    yield (
        "STL two solids that touch",
        stl(pair),
        partial(right, solid=pair, note="are walls within the solid and were left out"),
    )


def _known(solid: Solid) -> tuple[float, float, Array, Array]:
    return solid.volume, solid.area, solid.inside, solid.outside


def _refusals() -> Made:
    el, triangles = solids()[4], block()
    flat = np.array(triangles.polygons, dtype="u2").reshape(-1)
    scene, blocks = gltf_scene(triangles.vertices.astype("f4"), [flat])
    whole: dict[str, bytes] = {
        "OFF": off(el).encode(), "PLY": ply(el, "ascii"), "STL": stl(triangles), "GLB": glb(scene, blocks),
        "PLY binary": ply(el, "binary_big_endian"), "STL text": stl_text(triangles).encode(),
    }  # fmt: skip
    for (name, content), share in itertools.product(whole.items(), (0.5, 0.9)):
        yield f"{name} cut to {share:.0%}", content[: int(share * len(content))], partial(refused, reason="cut short")
    beyond = Solid(el.name, el.vertices, [*el.polygons, [0, 1, 99]], *_known(el))
    yield "OBJ beyond", obj(beyond), partial(refused, reason="a face names vertex 100 of 12")
    yield "OFF beyond", off(beyond), partial(refused, reason="a face names vertex 99, beyond the 12")
    yield "PLY beyond", ply(beyond, "binary_little_endian"), partial(refused, reason="beyond the 12 there are")
    holed = el.vertices.copy()
    holed[3, 1] = np.nan
    nan = Solid(el.name, holed, el.polygons, *_known(el))
    for name, content in (("OBJ", obj(nan)), ("OFF", off(nan)), ("PLY", ply(nan, "ascii"))):
        yield f"{name} not a number", content, partial(refused, reason="1 of 12 vertices that are not finite")
    for name in ("OBJ", "OFF", "PLY", "STL", "GLB"):
        yield f"{name} empty", b"", partial(refused, reason="is empty (0 bytes)")
    yield "OBJ index 0", obj(el) + "f 0 1 2\n", partial(refused, reason="there is no vertex 0")
    yield "OBJ surface", obj(el) + "surf 0 1 0 1 1 2 3 4\n", partial(refused, reason="free-form surface")
    yield "OBJ decimal comma", obj(el) + "v 0,5 1,0 2,0\n", partial(refused, reason='"0,5" is not a number')
    yield "OFF binary", b"OFF BINARY\n" + bytes(40), partial(refused, reason="it is a binary OFF")
    yield "OFF of four dimensions", off(el, "4OFF\n{} {} 0\n", " 1"), partial(refused, reason="another dimension")
    for name in ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "ACME_deformation"):
        required = glb(scene | {"extensionsRequired": [name]}, blocks)
        yield f"GLB {name}", required, partial(refused, reason=f"requires the extension {name}")
    yield "GLB version 1", glb(scene | {"asset": {"version": "1.0"}}, blocks), partial(refused, reason="it is glTF 1.0")
    lines, _ = gltf_scene(triangles.vertices.astype("f4"), [flat], 1)
    yield "GLB lines", glb(lines, blocks), partial(refused, reason="has no faces")
    for name in ("DAE", "FBX", "BLEND", "STEP", "VTK", "MSH"):
        yield f"{name} format", b"content", partial(refused, reason="is not a mesh format that can be read")
