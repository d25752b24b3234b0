"""Mesh files as programs write them give the solid that was written, or a refusal that says why."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldengine.errors import DataError
from fieldengine.files.mesh import READERS, MeshFile, read_mesh
from fieldengine.files.mesh_formats.polygons import Polygons
from fieldengine.files.mesh_formats.triangulate import triangulate

# an L of volume 3 and area 14; its two ends are concave, and fans of them would spill over
OUTLINE = ((2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 0))
CORNERS = np.array([(x, y, z) for z in (0, 1) for x, y in OUTLINE], dtype=float)
POLYGONS = [[5, 4, 3, 2, 1, 0], [6, 7, 8, 9, 10, 11], *([i, (i + 1) % 6, 6 + (i + 1) % 6, 6 + i] for i in range(6))]
BOX = np.array([(x, y, z) for x in (-1, 1) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], dtype=float)
BOX_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def made(name: str, content: str | bytes) -> Path:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return made


def volume(mesh: MeshFile) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6


def area(mesh: MeshFile) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2


def is_closed(mesh: MeshFile) -> bool:
    """Every edge is walked once in each direction."""
    edges = [(int(f[i]), int(f[(i + 1) % 3])) for f in mesh.faces for i in range(3)]
    return len(set(edges)) == len(edges) and {(b, a) for a, b in edges} == set(edges)


def is_the_l(mesh: MeshFile) -> bool:
    return is_closed(mesh) and volume(mesh) == pytest.approx(3) and area(mesh) == pytest.approx(14)


def is_the_box(mesh: MeshFile, scale: float = 1.0) -> bool:
    return (
        is_closed(mesh)
        and volume(mesh) == pytest.approx(2 * scale**3, rel=1e-4)
        and area(mesh) == pytest.approx(10 * scale**2, rel=1e-4)
    )


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_mesh(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def rows(values: Any) -> str:
    return "".join(" ".join(f"{value:g}" for value in row) + "\n" for row in values)


# ----------------------------------------------------------------------------------------------------------------- OBJ


def obj(vertex: Callable[[Any], str] = lambda v: "v {:g} {:g} {:g}".format(*v), corner: str = "{}") -> str:
    faces = [" ".join(["f", *(corner.format(i + 1) for i in polygon)]) for polygon in POLYGONS]
    return "\n".join([*map(vertex, CORNERS), *faces]) + "\n"


OBJ_TEXTS: dict[str, Callable[[], str | bytes]] = {
    "plain": obj,
    "byte order mark": lambda: b"\xef\xbb\xbf" + obj().encode(),
    "UTF-16": lambda: obj().encode("utf-16"),
    "CRLF": lambda: obj().replace("\n", "\r\n"),
    "old Macintosh": lambda: obj().replace("\n", "\r"),
    "tabs and blanks": lambda: obj().replace(" ", "\t  ").replace("\n", "  \n\n"),
    "comments": lambda: "# ünicode\n" + obj().replace("\n", " # f 1 2 3\n"),
    "Latin-1 names": lambda: b"o M\xfcller\n" + obj().encode(),
    "continued lines": lambda: obj().replace("f 6 5 4 ", "f 6 5 \\\n 4 \\\r\n ").replace("v 2 0 0", "v 2 \\\n0 0", 1),
    "texture coordinates": lambda: "vt 0 0\n" * 12 + obj(corner="{0}/{0}"),
    "normals": lambda: "vn 0 0 1\n" * 12 + obj(corner="{0}//{0}"),
    "both": lambda: "vt 0 0\nvn 0 0 1\n" + obj(corner="{}/1/1"),
    "empty slashes": lambda: obj(corner="{}//"),
    "colours": lambda: obj(lambda v: "v {:g} {:g} {:g} 0.1 0.2 0.3".format(*v)),
    "weights of one": lambda: obj(lambda v: "v {:g} {:g} {:g} 1.0".format(*v)),
    "groups and materials": lambda: "mtllib a.mtl\no a\ng b c\ns off\nusemtl d\n" + obj(),
    "faces before vertices": lambda: "\n".join(sorted(obj().splitlines(), key=lambda line: line[0] != "f")),
    "obsolete word for faces": lambda: obj().replace("f ", "fo "),
    "no last line end": lambda: obj().rstrip(),
}


@pytest.mark.parametrize("name", OBJ_TEXTS)
def test_an_obj_in_any_dress_is_read_and_nothing_is_said(name: str, write: Write):
    mesh = read_mesh(write("a.obj", OBJ_TEXTS[name]()))
    assert is_the_l(mesh)
    assert mesh.notes == ()


def test_negative_indices_count_back_from_the_last_vertex_read(write: Write):
    lines = []
    for polygon in POLYGONS:
        lines += ["v {:g} {:g} {:g}".format(*CORNERS[i]) for i in polygon]
        lines.append(" ".join(["f", *(f"{i - len(polygon)}/1/-1" for i in range(len(polygon)))]))
    assert is_the_l(read_mesh(write("a.obj", "\n".join(lines))))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("f 1 2 0", "line 21: a face names vertex 0 counts from 1"),
        ("f 1 2 13", "line 21: a face names vertex 13 of 12 vertices"),
        ("f -1 -2 -13", "line 21: a face names vertex -13 of 12 vertices before it"),
        ("f 1 2 x", 'line 21: "x" is not a whole number'),
        ("f 1 2 3.0", 'line 21: "3.0" is not a whole number'),
        ("v 1,5 2,5 3,5", 'line 21: "1,5" is not a number'),
        ("v 1 2", "line 21: a vertex of 2 numbers"),
        ("v 1_0 2 3", 'line 21: "1_0" is not a number'),
        ("surf 0 1 0 1 1 2 3 4", 'line 21: "surf" makes a free-form surface'),
        ("call other.obj", 'line 21: "call" runs another file'),
    ],
)
def test_a_wrong_line_of_an_obj_is_refused_by_its_number(more: str, said: str, write: Write):
    assert said in refusal(write("a.obj", obj() + more + "\n"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("l 1 2 3\np 1\n", "left out: 2 lines, points or curves"),
        ("f 1 2\n", "1 face of fewer than three corners"),
        ("v 0 0 0 2\n", "1 vertex has a weight other than 1"),
        ("hello there\nyou\n", '2 lines are no statement of OBJ (first "hello", line 21)'),
    ],
)
def test_what_an_obj_holds_beside_its_solid_is_said_once(more: str, said: str, write: Write):
    mesh = read_mesh(write("a.obj", obj() + more))
    assert is_the_l(mesh)
    assert len(mesh.notes) == 1
    assert said in mesh.notes[0]


# ----------------------------------------------------------------------------------------------------------------- OFF


def off(head: str = "OFF\n12 8 0\n", vertex: str = "", face: str = "") -> str:
    vertices = rows(CORNERS).replace("\n", f"{vertex}\n")
    return head + vertices + rows([len(p), *p] for p in POLYGONS).replace("\n", f"{face}\n")


OFF_TEXTS: dict[str, Callable[[], str | bytes]] = {
    "plain": off,
    "byte order mark": lambda: b"\xef\xbb\xbf" + off().encode(),
    "CRLF": lambda: off().replace("\n", "\r\n"),
    "counts on the first line": lambda: off("OFF 12 8 0\n"),
    "counts without a space": lambda: off("OFF12 8 0\n"),
    "two counts": lambda: off("OFF\n12 8\n"),
    "comments and blanks": lambda: "# made\n\n" + off().replace("\n", " # x\n\n"),
    "normals": lambda: off("NOFF\n12 8 0\n", " 0 0 1"),
    "colours of vertices": lambda: off("COFF\n12 8 0\n", " 255 0 0 255"),
    "texture coordinates": lambda: off("STOFF\n12 8 0\n", " 0.5 0.5"),
    "all of them": lambda: off("STCNOFF\n12 8 0\n", " 0 0 1 1 0 0 1 0.5 0.5"),
    "colours of faces": lambda: off(face=" 0.1 0.2 0.3"),
    "indices of colours": lambda: off(face=" 3"),
}


@pytest.mark.parametrize("name", OFF_TEXTS)
def test_an_off_in_any_dress_is_read_and_nothing_is_said(name: str, write: Write):
    mesh = read_mesh(write("a.off", OFF_TEXTS[name]()))
    assert is_the_l(mesh)
    assert mesh.notes == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"OFF BINARY\n\0\0\0\x0c\0\0\0\x08", "it is a binary OFF"),
        (off("4OFF\n12 8 0\n", " 1").encode(), "vertices of another dimension"),
        (off("nOFF\n12 8 0\n").encode(), "vertices of another dimension"),
        (b"hello\n", 'does not begin with "OFF"'),
        (b"OFF\n", "numbers of vertices and faces are missing"),
        (off("OFF\n12 9 0\n").encode(), "promises 12 vertices and 9 faces but holds 12 vertices and 8 faces"),
        (off("OFF\n13 8 0\n").encode(), "cut short"),
        (
            off().replace("6 6 7 8 9 10 11", "6 6 7 8 9 10 12").encode(),
            "a face names vertex 12, beyond the 12",
        ),
        (off().replace("6 6 7 8 9 10 11", "6 6 7 8 9 10 -1").encode(), "line 16: a face names vertex -1"),
        (off().replace("6 6 7 8 9 10 11", "7 6 7 8 9 10 11").encode(), "line 16: a face promises 7 corners but has 6"),
    ],
)
def test_an_off_that_cannot_be_read_is_refused(content: bytes, said: str, write: Write):
    assert said in refusal(write("a.off", content))


def test_lines_that_an_off_does_not_promise_are_said(write: Write):
    mesh = read_mesh(write("a.off", off() + "3 0 1 2\n"))
    assert is_the_l(mesh)
    assert mesh.notes == ("not read: 1 line after the 8 faces it promises",)


# ----------------------------------------------------------------------------------------------------------------- PLY

LETTERS = {
    "char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d",
    "int8": "b", "uint8": "B", "int32": "i", "uint32": "I", "float32": "f", "float64": "d", "int64": "q",
}  # fmt: skip


def ply(
    order: str = "ascii", real: str = "float", length: str = "uchar", index: str = "int",
    name: str = "vertex_indices", extra: bool = False, strips: list[int] | None = None, vertices: Any = CORNERS,
) -> bytes:  # fmt: skip
    """The L, or one strip, with nothing but struct; `extra` adds properties and elements that are no shape."""
    polygons = [] if strips else POLYGONS
    head = ["ply", f"format {'ascii' if order == 'ascii' else order} 1.0", "comment made by hand"]
    body: list[tuple[str, list[float]]] = []
    if extra:
        head += ["element note 2", "property list uint8 short text", "property uchar kind"]
        body += [("Bhhhb", [3, 1, 2, 3, 4]), ("Bb", [0, 7])]
    head += [f"element vertex {len(vertices)}", *(f"property {real} {axis}" for axis in "xyz")]
    head += ["property uchar red"] if extra else []
    tint = LETTERS["uchar"] if extra else ""
    body += [(LETTERS[real] * 3 + tint, [*v, 200] if extra else [*v]) for v in np.asarray(vertices).tolist()]
    head += [f"element face {len(polygons)}", *(["property float quality"] if extra else [])]
    head += [f"property list {length} {index} {name}", *(["property list uchar float uv"] if extra else [])]
    for polygon in polygons:
        letters = LETTERS[length] + LETTERS[index] * len(polygon)
        values: list[float] = [len(polygon), *polygon]
        body.append((f"f{letters}Bff", [0.5, *values, 2, 0.25, 0.75]) if extra else (letters, values))
    if strips:
        head += ["element tristrips 1", "property list int int vertex_indices"]
        body.append(("i" + "i" * len(strips), [len(strips), *strips]))
    text = "\n".join([*head, "end_header"]) + "\n"
    if order == "ascii":
        return (text + "".join(" ".join(repr(value) for value in values) + "\n" for _, values in body)).encode()
    sign = "<" if order == "binary_little_endian" else ">"
    return text.encode() + b"".join(
        struct.pack(sign + letters, *(v if c in "fd" else int(v) for c, v in zip(letters, values, strict=True)))
        for letters, values in body
    )


ORDERS = ("ascii", "binary_little_endian", "binary_big_endian")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("options", [
    {}, {"real": "double"}, {"real": "short"}, {"length": "int", "index": "uint"}, {"length": "int8", "index": "uchar"},
    {"length": "ushort", "index": "short", "name": "vertex_index"}, {"index": "int64"}, {"extra": True},
    {"extra": True, "real": "float64"},
])  # fmt: skip
def test_a_ply_of_any_types_is_read_and_nothing_is_said(order: str, options: dict[str, Any], write: Write):
    mesh = read_mesh(write("a.ply", ply(order, **options)))
    assert is_the_l(mesh)
    assert mesh.notes == ()


@pytest.mark.parametrize("order", ORDERS)
def test_a_ply_keeps_double_precision(order: str, write: Write):
    moved = CORNERS + 1e7 + 1e-6
    found = read_mesh(write("a.ply", ply(order, real="double", vertices=moved))).vertices
    assert {tuple(v) for v in found} == {tuple(v) for v in moved}


@pytest.mark.parametrize("order", ORDERS)
def test_strips_of_a_ply_turn_their_triangles_in_turn(order: str, write: Write):
    around = [0, 1, 2, 3, 6, 7, 4, 5, 0, 1]  # the box's four sides, then its ends
    mesh = read_mesh(write("a.ply", ply(order, vertices=BOX, strips=[*around, -1, 1, 5, 3, 7, -1, 0, 2, 4, 6])))
    assert is_the_box(mesh)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("options", [{}, {"extra": True}])
def test_a_ply_cut_anywhere_is_refused_or_whole(order: str, options: dict[str, Any], write: Write):
    whole = ply(order, **options)
    for end in range(1, len(whole) - 1, 7):
        message = refusal(write("a.ply", whole[:end]))
        assert "cut short" in message or "cannot be read" in message


def test_a_ply_with_line_ends_of_other_systems_is_read(write: Write):
    assert is_the_l(read_mesh(write("a.ply", ply().replace(b"\n", b"\r\n"))))
    assert is_the_l(read_mesh(write("b.ply", ply().replace(b"\n", b"\r"))))
    head, _, body = ply("binary_big_endian").partition(b"end_header\n")
    assert is_the_l(read_mesh(write("c.ply", head.replace(b"\n", b"\r\n") + b"end_header\r\n" + body)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ply().replace(b"vertex_indices", b"corners"), "has no vertex_indices or vertex_index, but corners"),
        (ply().replace(b"float x", b"float u"), "its vertices have no x"),
        (ply().replace(b"float x", b"half x"), '"property half x" is no line of a head of PLY'),
        (ply().replace(b"format ascii", b"format binary_middle_endian"), '"binary_middle_endian" is no format'),
        (ply().replace(b"6 5 4 3 2 1 0", b"6 5 4 3 2 1 0 7"), '"face" has 8 numbers where 7 are promised'),
        (ply().replace(b"6 5 4 3 2 1 0", b"6 5 4 3 2 1 99"), "beyond the 12 there are"),
        (ply().replace(b"6 5 4 3 2 1 0", b"6 5 4 3 2 1 -1"), "beyond the 12 there are"),
    ],
)
def test_a_ply_that_cannot_be_read_is_refused(content: bytes, said: str, write: Write):
    assert said in refusal(write("a.ply", content))


@pytest.mark.parametrize("order", ORDERS)
def test_more_data_than_a_ply_promises_is_said(order: str, write: Write):
    mesh = read_mesh(write("a.ply", ply(order) + b"3 0 1 2\n"))
    assert is_the_l(mesh)
    assert "after what its head promises" in mesh.notes[0]


# ----------------------------------------------------------------------------------------------------------------- STL


def stl(head: bytes = b"made by hand", count: int | None = None, turned: bool = False) -> bytes:
    corners = BOX[BOX_FACES].astype("<f4")
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * (-1 if turned else 1)
    body = b"".join(n.astype("<f4").tobytes() + c.tobytes() + b"\0\0" for n, c in zip(normals, corners, strict=True))
    return head.ljust(80) + struct.pack("<I", len(corners) if count is None else count) + body


def stl_text(names: tuple[str, ...] = ("box",)) -> str:
    """The box as text, its faces spread over as many solids as there are names."""
    parts = []
    for name, faces in zip(names, np.array_split(BOX_FACES, len(names)), strict=True):
        facets = [
            "facet normal 0 0 0\n outer loop\n" + "".join("  vertex {} {} {}\n".format(*BOX[i]) for i in face)
            + " endloop\nendfacet\n" for face in faces
        ]  # fmt: skip
        parts.append(f"solid {name}\n" + "".join(facets) + f"endsolid {name}\n")
    return "".join(parts)


@pytest.mark.parametrize(
    "content",
    [
        stl(), stl(b"solid made by hand"), stl_text(), stl_text(("a facet", "vertex", "")), stl_text().upper(),
        stl_text().replace("\n", "\r\n"), "\ufeff" + stl_text(), stl_text().replace("normal 0 0 0", "normal nan inf 0"),
    ],
)  # fmt: skip
def test_an_stl_is_text_or_binary_by_its_content(content: bytes | str, write: Write):
    mesh = read_mesh(write("a.stl", content))
    assert is_the_box(mesh)
    assert mesh.notes == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (stl(count=0), "promises 0 triangles but its size is that of 12"),
        (stl(b"solid", count=0), "promises 0 triangles but its size is that of 12"),
        (stl(count=0xFFFFFFFF), "promises 4294967295 triangles but its size is that of 12"),
        (stl(count=7), "promises 7 triangles but its size is that of 12"),
        (stl() + b"end", "3 bytes after the 12 triangles"),
        (stl(turned=True), "the normals of 12 of 12 facets point against the order of their corners"),
        (stl_text().replace("normal 0 0 0", "normal 1 0 0"), "of 12 facets point against"),
    ],
)
def test_what_an_stl_says_of_itself_and_is_not_so_is_said(content: bytes | str, said: str, write: Write):
    mesh = read_mesh(write("a.stl", content))
    assert is_the_box(mesh)
    assert len(mesh.notes) == 1
    assert said in mesh.notes[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (stl()[:-60], "promises 12 triangles but has room for 10; the file is cut short"),
        (stl()[:-100], "promises 12 triangles but has room for 10; the file is cut short"),
        (stl(b"solid")[:-60], "promises 12 triangles but has room for 10; the file is cut short"),
        (stl(count=24), "promises 24 triangles but has room for 12; the file is cut short"),
        (stl()[:50], "neither begins with"),
        (stl_text().rpartition("endsolid")[0], 'ends without "endsolid"; the file is cut short'),
        (stl_text()[:500], "cut short"),
        (stl_text().replace("vertex -1.0", "vertex x", 1), '"x" is not a number'),
    ],
)
def test_an_stl_that_is_cut_short_is_refused(content: bytes | str, said: str, write: Write):
    assert said in refusal(write("a.stl", content))


# ---------------------------------------------------------------------------------------------------------------- glTF


class Gltf:
    """A glTF under construction: views and accessors are added to it, then it is packed."""

    def __init__(self, **json_of: Any):
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": [], **json_of}
        self.data = b""

    def view(self, values: np.ndarray, stride: int = 0) -> int:
        lines = [line.tobytes().ljust(stride, b"\xee") for line in values]
        self.data += bytes(-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": sum(map(len, lines))}
        self.json["bufferViews"].append(view | ({"byteStride": stride} if stride else {}))
        self.data += b"".join(lines)
        return len(self.json["bufferViews"]) - 1

    def accessor(self, values: np.ndarray, stride: int = 0, **more: Any) -> int:
        types = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}
        values = np.asarray(values)
        self.json["accessors"].append(
            {
                "bufferView": self.view(values, stride), "componentType": types[values.dtype.name],
                "count": len(values), "type": "SCALAR" if values.ndim == 1 else "VEC3", **more,
            }
        )  # fmt: skip
        return len(self.json["accessors"]) - 1

    def show(self, *primitives: dict[str, Any], **node: Any) -> Gltf:
        """One mesh of these primitives in one node."""
        return self.scene({"mesh": 0, **node}, meshes=[{"primitives": list(primitives)}])

    def scene(self, *nodes: dict[str, Any], **more: Any) -> Gltf:
        self.json |= {"scene": 0, "scenes": [{"nodes": [0]}], "nodes": list(nodes), **more}
        return self

    def glb(self) -> bytes:
        data = self.data + bytes(-len(self.data) % 4)
        text = json.dumps(self.json | {"buffers": [{"byteLength": len(data)}]}).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def gltf(self, uri: str) -> str:
        return json.dumps(self.json | {"buffers": [{"byteLength": len(self.data), "uri": uri}]})


def box(kind: str = "uint16", **more: Any) -> tuple[Gltf, dict[str, Any]]:
    made = Gltf(**more)
    at = made.accessor(BOX.astype("f4"))
    return made, {"attributes": {"POSITION": at}, "indices": made.accessor(BOX_FACES.reshape(-1).astype(kind))}


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32"])
def test_a_glb_is_read_whatever_its_indices(kind: str, write: Write):
    made, primitive = box(kind)
    mesh = read_mesh(write("a.glb", made.show(primitive).glb()))
    assert is_the_box(mesh)
    assert mesh.notes == ()


def test_a_gltf_reads_data_of_its_own_and_of_its_folder_and_no_other(write: Write, tmp_path: Path):
    made, primitive = box()
    made.show(primitive)
    uri = "data:application/octet-stream;base64," + base64.b64encode(made.data).decode()
    assert is_the_box(read_mesh(write("a.gltf", made.gltf(uri))))
    plain = "data:," + "".join(f"%{byte:02x}" for byte in made.data)
    assert is_the_box(read_mesh(write("b.gltf", made.gltf(plain))))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b.bin").write_bytes(made.data)
    (tmp_path / "out.bin").write_bytes(made.data)
    (tmp_path / "in" / "link.bin").symlink_to(tmp_path / "out.bin")
    assert is_the_box(read_mesh(write("in/a.gltf", made.gltf("a%20b.bin"))))
    for outside in ("../out.bin", str(tmp_path / "out.bin"), "%2e%2e/out.bin", "link.bin", "file:///etc/hostname"):
        assert "outside the folder of the file" in refusal(write("in/a.gltf", made.gltf(outside)))
    assert "no such file beside it" in refusal(write("in/a.gltf", made.gltf("gone.bin")))


def test_strips_and_fans_and_bare_vertices_are_triangles(write: Write):
    made = Gltf()
    at = made.accessor(BOX.astype("f4"))
    sides = made.accessor(np.array([0, 1, 2, 3, 6, 7, 4, 5, 0, 1], dtype="u2"))
    ends = [made.accessor(np.array(end, dtype="u1")) for end in ([1, 5, 7, 3], [0, 2, 6, 4])]
    strip = {"attributes": {"POSITION": at}, "indices": sides, "mode": 5}
    fans = [{"attributes": {"POSITION": at}, "indices": end, "mode": 6} for end in ends]
    assert is_the_box(read_mesh(write("a.glb", made.show(strip, *fans).glb())))
    bare = Gltf()
    soup = {"attributes": {"POSITION": bare.accessor(BOX[BOX_FACES].reshape(-1, 3).astype("f4"), stride=20)}}
    assert is_the_box(read_mesh(write("b.glb", bare.show(soup).glb())))


@pytest.mark.parametrize(("kind", "most"), [("int8", 127), ("uint8", 255), ("int16", 32767), ("uint16", 65535)])
def test_normalised_integers_are_divided_by_their_range(kind: str, most: int, write: Write):
    made = Gltf(extensionsRequired=["KHR_mesh_quantization"])
    low = -most if kind.startswith("i") else 0
    at = made.accessor(np.where(BOX > 0, most, low).astype(kind), stride=8, normalized=True)
    primitive = {"attributes": {"POSITION": at}, "indices": made.accessor(BOX_FACES.reshape(-1).astype("u2"))}
    mesh = read_mesh(write("a.glb", made.show(primitive, scale=[2, 1, 1]).glb()))
    side = 2 if low else 1
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [2 * side, side, side])
    made.json["accessors"][0].pop("normalized")
    mesh = read_mesh(write("b.glb", made.show(primitive).glb()))
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), most - low)


def test_sparse_values_replace_those_of_their_view_or_zeros(write: Write):
    made, primitive = box()
    right = np.flatnonzero(BOX[:, 0] > 0)
    where = {"bufferView": made.view(right.astype("u1")), "componentType": 5121}
    values = {"bufferView": made.view((BOX[right] + [2, 0, 0]).astype("f4"))}
    made.json["accessors"][0]["sparse"] = {"count": 4, "indices": where, "values": values}
    mesh = read_mesh(write("a.glb", made.show(primitive).glb()))
    np.testing.assert_array_equal([mesh.vertices.min(0), mesh.vertices.max(0)], [[-1, -0.5, -0.5], [3, 0.5, 0.5]])
    made, primitive = box()
    made.json["accessors"][0].pop("bufferView")
    all_of_them = {"bufferView": made.view(np.arange(8, dtype="u2")), "componentType": 5123}
    values = {"bufferView": made.view(BOX.astype("f4"))}
    made.json["accessors"][0]["sparse"] = {"count": 8, "indices": all_of_them, "values": values}
    assert is_the_box(read_mesh(write("b.glb", made.show(primitive).glb())))


def test_nodes_place_a_mesh_once_for_each_and_mirrors_keep_it_outward(write: Write):
    made, primitive = box()
    half = float(np.sqrt(0.5))
    made.scene(
        {"children": [1, 2, 3], "translation": [10, 0, 0]},
        {"mesh": 0, "rotation": [0, 0, half, half], "scale": [1, 2, 1]},
        {"mesh": 0, "matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 5, 0, 1]},
        {},
        meshes=[{"primitives": [primitive]}],
    )
    mesh = read_mesh(write("a.glb", made.glb()))
    assert len(mesh.faces) == 24
    assert is_closed(mesh)
    assert volume(mesh) == pytest.approx(2 * 2 + 2)
    np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], [[9, -1, -0.5], [11, 5.5, 0.5]])


def test_morph_targets_are_added_by_their_default_weights(write: Write):
    made, primitive = box()
    primitive["targets"] = [{"POSITION": made.accessor(BOX.astype("f4"))}]
    made.show(primitive)
    assert is_the_box(read_mesh(write("a.glb", made.glb())))
    made.json["meshes"][0]["weights"] = [0.5]
    mesh = read_mesh(write("b.glb", made.glb()))
    assert is_the_box(mesh, 1.5)
    assert "default weights of morph targets" in mesh.notes[0]


@pytest.mark.parametrize(
    "name", ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "EXT_mesh_gpu_instancing", "ACME_anything"]
)
def test_an_extension_that_a_gltf_requires_and_is_not_applied_is_refused_by_name(name: str, write: Write):
    made, primitive = box(extensionsRequired=[name])
    assert f"requires the extension {name}" in refusal(write("a.glb", made.show(primitive).glb()))


def test_extensions_that_change_no_position_do_no_harm(write: Write):
    made, primitive = box(extensionsRequired=["KHR_materials_unlit", "KHR_texture_transform"])
    assert is_the_box(read_mesh(write("a.glb", made.show(primitive).glb())))


def test_compressed_parts_are_refused_even_where_the_file_does_not_say_required(write: Write):
    made, primitive = box()
    made.json["accessors"][0].pop("bufferView")
    primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0}}
    assert "needs the extension KHR_draco_mesh_compression" in refusal(write("a.glb", made.show(primitive).glb()))
    made, primitive = box()
    made.json["bufferViews"][0]["extensions"] = {"EXT_meshopt_compression": {"buffer": 0}}
    assert "needs the extension EXT_meshopt_compression" in refusal(write("b.glb", made.show(primitive).glb()))


def test_what_a_gltf_holds_beside_its_triangles_is_said(write: Write):
    made, primitive = box()
    made.show(primitive, {"attributes": primitive["attributes"], "mode": 1}, skin=0)
    made.json["meshes"].append({"primitives": [primitive]})
    made.json["accessors"][0] |= {"min": [-1, -0.5, -0.5], "max": [0.5, 0.5, 0.5]}
    mesh = read_mesh(write("a.glb", made.glb()))
    assert is_the_box(mesh)
    notes = " ".join(mesh.notes)
    for part in ("1 primitive of points or lines", "a skeleton", "1 mesh that the scene does not show", "min and max"):
        assert part in notes


def test_a_glb_cut_anywhere_is_refused(write: Write):
    made, primitive = box()
    whole = made.show(primitive).glb()
    for end in range(1, len(whole), 11):
        refusal(write("a.glb", whole[:end]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"asset": {"version": "1.0"}}, "it is glTF 1.0"),
        ({"asset": None}, 'has no "asset"'),
        ({"nodes": [{"mesh": 5}]}, "names meshes[5], and there is none"),
        ({"nodes": [{"children": [0]}]}, "hangs below two nodes, or below itself"),
        ({"nodes": [{"mesh": 0, "matrix": [1, 0, 0, 5] + [0.0] * 11 + [1]}]}, "a last row other than 0 0 0 1"),
        ({"nodes": [{"mesh": 0, "scale": "none"}]}, "is not that of a glTF"),
        ({"nodes": [{"mesh": 0, "translation": [None, 0, 0]}]}, "the transform of nodes[0] is not finite"),
        ({"extensionsRequired": 3}, "is not that of a glTF"),
        ({"meshes": [{"primitives": [{"attributes": 3}]}]}, "is not that of a glTF"),
        ({"accessors": [{"bufferView": 0, "componentType": 5126, "count": 9, "type": "VEC3"}]}, "too short"),
    ],
)
def test_a_gltf_that_contradicts_itself_is_refused(change: dict[str, Any], said: str, write: Write):
    made, primitive = box()
    made.show(primitive)
    made.json |= change
    assert said in refusal(write("a.glb", made.glb()))


# ----------------------------------------------------------------------------------------------------------------- 3MF

LINK = '<Relationships><Relationship Id="r" Type="http://a/3dmodel" Target="/3D/3dmodel.model"/></Relationships>'
SPACE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"


def mf(body: str, head: str = "", parts: dict[str, str] | None = None) -> bytes:
    """A package whose model has the box as object 1, and this body after its resources."""
    vertices = "".join('<vertex x="{}" y="{}" z="{}"/>'.format(*v) for v in BOX)
    triangles = "".join('<triangle v1="{}" v2="{}" v3="{}"/>'.format(*f) for f in BOX_FACES)
    mesh = f"<mesh><vertices>{vertices}</vertices><triangles>{triangles}</triangles></mesh>"
    model = f'<model unit="inch" xmlns="{SPACE}" {head}>{body.replace("MESH", mesh)}</model>'
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {"_rels/.rels": LINK, "3D/3dmodel.model": model, **(parts or {})}.items():
            archive.writestr(name, text.replace("MESH", mesh))
    return held.getvalue()


ONE = '<resources><object id="1">MESH</object></resources><build><item objectid="1"/></build>'


def test_a_3mf_gives_its_build_in_its_own_unit(write: Write):
    mesh = read_mesh(write("a.3mf", mf(ONE)))
    assert is_the_box(mesh)
    assert mesh.notes == ()


def test_a_build_and_its_components_place_objects_and_mirrors_keep_them_outward(write: Write):
    parts = (
        '<resources><object id="1">MESH</object><object id="7"><components>'
        '<component objectid="1" transform="1 0 0 0 1 0 0 0 1 0 5 0"/>'
        '<component objectid="1" transform="0 1 0 -1 0 0 0 0 2 0 0 0"/></components></object></resources>'
        '<build><item objectid="7" transform="-1 0 0 0 1 0 0 0 1 10 0 0"/></build>'
    )
    mesh = read_mesh(write("a.3mf", mf(parts)))
    assert is_closed(mesh)
    assert volume(mesh) == pytest.approx(2 + 4)
    np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], [[9, -1, -1], [11, 5.5, 1]])


def test_objects_in_other_parts_are_found_and_supports_are_left_out(write: Write):
    other = f'<model xmlns="{SPACE}"><resources><object id="3">MESH</object></resources></model>'
    body = (
        '<resources><object id="1" type="support">MESH</object><object id="2"><components>'
        '<component objectid="3" p:path="/3D/o.model"/></components></object></resources>'
        '<build><item objectid="1"/><item objectid="2" transform="1 0 0 0 1 0 0 0 1 9 0 0"/></build>'
    )
    head = 'requiredextensions="p" xmlns:p="http://schemas.microsoft.com/3dmanufacturing/production/2015/06"'
    mesh = read_mesh(write("a.3mf", mf(body, head, {"3D/o.model": other})))
    assert is_the_box(mesh)
    assert mesh.vertices[:, 0].min() == 8
    assert mesh.notes == ("left out: 1 object for support",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (mf(ONE)[:-300], "damaged or cut short"),
        (b"PK", "damaged or cut short"),
        (mf(ONE.replace('objectid="1"', 'objectid="1" transform="nan 0 0 0 1 0 0 0 1 0 0 0"')), "is not finite"),
        (mf(ONE.replace('objectid="1"', 'objectid="2"')), "it places object 2, and there is none"),
        (mf(ONE, 'requiredextensions="b" xmlns:b="http://a/beamlattice/2017/02"'), "beamlattice/2017/02, which is not"),
        (mf(ONE.replace("MESH", "<mesh/>")), "has no faces"),
        (mf(ONE, parts={"3D/3dmodel.model": "<model"}), "its XML is damaged"),
        (mf(ONE.replace("MESH", '<components><component objectid="1"/></components>')), "contain each other"),
        (mf(ONE, parts={"3D/3dmodel.model": "<!DOCTYPE a><model/>"}), "defines entities"),
    ],
)  # fmt: skip
def test_a_3mf_that_cannot_be_read_is_refused(content: bytes, said: str, write: Write):
    assert said in refusal(write("a.3mf", content))


# ---------------------------------------------------------------------------------------------------------- all formats


@pytest.mark.parametrize("scale", [1.5e-7, 1e-30, 1e7, 1e30])
@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_a_mesh_keeps_all_its_faces_at_any_size_and_place(scale: float, shift: float, write: Write):
    count = 32
    around = np.arange(count) * 2 * np.pi / count
    ring = np.stack([np.cos(around), np.sin(around), 0 * around], axis=1)
    vertices = (np.vstack([ring, [[0, 0, 1], [0, 0, -1]]]) + shift) * scale
    sides = [(i, (i + 1) % count) for i in range(count)]
    faces = [[a, b, count] for a, b in sides] + [[b, a, count + 1] for a, b in sides]
    text = "".join("v {!r} {!r} {!r}\n".format(*map(float, v)) for v in vertices)
    mesh = read_mesh(write("a.obj", text + "".join("f {} {} {}\n".format(*(np.array(f) + 1)) for f in faces)))
    assert len(mesh.faces) == len(faces)
    assert is_closed(mesh)
    assert mesh.notes == ()


def test_faces_on_each_other_are_read_once_and_said(write: Write):
    text = "".join("v {} {} {}\n".format(*v) for v in BOX)
    once = "".join("f {} {} {}\n".format(*(f + 1)) for f in BOX_FACES)
    back = "".join("f {} {} {}\n".format(*(f[::-1] + 1)) for f in BOX_FACES)
    for more, doubled in ((back, 12), (once, 12), (back.partition("\n")[0] + "\n", 1)):
        mesh = read_mesh(write("a.obj", text + once + more))
        assert is_the_box(mesh)
        assert mesh.notes == (f"{doubled} of {12 + doubled} faces lie on others; one of each was kept",)


def test_a_wall_between_touching_solids_is_no_surface(write: Write):
    text = "".join("v {} {} {}\n".format(*v) for v in [*BOX, *(BOX + [2, 0, 0])])
    text += "".join("f {} {} {}\n".format(*f) for f in [*(BOX_FACES + 1), *(BOX_FACES + 9)])
    mesh = read_mesh(write("a.obj", text))
    assert volume(mesh) == pytest.approx(4)
    assert is_closed(mesh)
    assert mesh.notes == ("4 of 24 faces lie on others; 4 are walls within the solid and were left out",)


def test_a_body_written_for_both_sides_stays_beside_a_closed_one(write: Write):
    both = [*BOX_FACES, *(face[::-1] for face in BOX_FACES)]
    text = "".join("v {} {} {}\n".format(*v) for v in [*BOX, *(BOX + [5, 0, 0])])
    text += "".join("f {} {} {}\n".format(*(face + 1)) for face in [*both, *(BOX_FACES + 8)])
    mesh = read_mesh(write("a.obj", text))
    assert volume(mesh) == pytest.approx(4)
    assert is_closed(mesh)
    assert mesh.notes == ("12 of 36 faces lie on others; one of each was kept",)


def test_polygons_written_for_both_sides_are_one_however_they_are_split(write: Write):
    back = [polygon[::-1] for polygon in POLYGONS]
    faces = "".join(" ".join(["f", *(str(i + 1) for i in polygon)]) + "\n" for polygon in back)
    assert is_the_l(read_mesh(write("a.obj", obj() + faces)))


def test_the_table_in_the_docs_has_a_row_for_each_ending():
    text = (Path(__file__).resolve().parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
    section = text.partition("## Meshes")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| `.")]
    assert sorted(line.split("`")[1] for line in table) == sorted(READERS)
    assert {line.count("|") for line in table} == {7}


@pytest.mark.parametrize("seed", range(6))
def test_triangles_of_a_polygon_cover_it_exactly_wherever_it_lies(seed: int):
    random = np.random.default_rng(seed)
    for count in (4, 5, 9, 24):
        angles = (np.arange(count) + random.uniform(0.1, 0.9, count)) * 2 * np.pi / count
        flat = np.stack([np.cos(angles), np.sin(angles)], axis=1) * random.uniform(0.1, 1, count)[:, None]
        after = np.roll(flat, -1, axis=0)
        wanted = 0.5 * float((flat[:, 0] * after[:, 1] - flat[:, 1] * after[:, 0]).sum())
        turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
        at = np.c_[flat, np.zeros(count)] @ turn.T * 10.0 ** random.integers(-9, 9)
        scale = float(np.linalg.norm(at[0]) / np.linalg.norm(flat[0]))
        faces, notes = triangulate(Polygons(at, np.arange(count), np.array([count])))
        halves = np.cross(at[faces[:, 1]] - at[faces[:, 0]], at[faces[:, 2]] - at[faces[:, 0]]) / 2
        assert float(np.linalg.norm(halves, axis=1).sum()) == pytest.approx(wanted * scale**2)
        assert float(np.linalg.norm(halves.sum(axis=0))) == pytest.approx(wanted * scale**2), "no triangle turns back"
        assert len(faces) == count - 2
        assert notes == ()


def test_polygons_that_cross_themselves_are_said(write: Write):
    bow = "v 0 0 5\nv 1 1 5\nv 1 0 5\nv 0 1 5\nf 13 14 15 16\n"
    mesh = read_mesh(write("a.obj", obj() + bow))
    assert mesh.notes == ("1 polygon crosses or touches itself, so the triangles there are a guess",)


def test_corners_on_a_straight_edge_stay_in_use(write: Write):
    middles = 0.5 * (CORNERS[[0, 1, 6, 7]] + CORNERS[[1, 2, 7, 8]])  # of the edges 0-1 and 1-2, below and above
    faces = [
        [5, 4, 3, 2, 13, 1, 12, 0], [6, 14, 7, 15, 8, 9, 10, 11], [0, 12, 14, 6], [12, 1, 7, 14], [1, 13, 15, 7],
        [13, 2, 8, 15], *POLYGONS[4:],
    ]  # fmt: skip
    text = "".join("v {} {} {}\n".format(*v) for v in [*CORNERS, *middles])
    text += "".join(" ".join(["f", *(str(i + 1) for i in face)]) + "\n" for face in faces)
    mesh = read_mesh(write("a.obj", text))
    assert is_the_l(mesh)
    assert len(mesh.vertices) == 16
    assert mesh.notes == ()


def test_a_file_that_may_not_be_opened_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch):
    path = write("a.obj", obj())

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be opened: permission denied" in refusal(path)


@pytest.mark.parametrize("name", ["a.PLY", "b.Obj", "c.fbx", "d.dae"])
def test_an_ending_names_the_format_in_any_case_and_others_are_refused(name: str, write: Write):
    path = write(name, ply() if name == "a.PLY" else obj())
    if name in ("a.PLY", "b.Obj"):
        assert is_the_l(read_mesh(path))
    else:
        assert "is not a mesh format that can be read. Known: .3mf .glb .gltf .obj .off .ply .stl" in refusal(path)
