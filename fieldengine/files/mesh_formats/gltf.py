"""glTF 2.0: the triangles of a scene, each mesh where its nodes place it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fieldengine.files.mesh_formats.gltf_accessor import stored, values
from fieldengine.files.mesh_formats.gltf_document import Document, open_document
from fieldengine.files.mesh_formats.polygons import Floats, Indices, Polygons, plural, unreadable

TRIANGLES, STRIP, FAN = 4, 5, 6
COMPRESSED = "KHR_draco_mesh_compression"


@dataclass
class Found:
    """What was met while walking through a scene."""

    vertices: list[Floats] = field(default_factory=list)
    faces: list[Indices] = field(default_factory=list)
    n_vertices: int = 0
    n_lines: int = 0
    n_skinned: int = 0
    n_morphed: int = 0
    outside: int = 0


def read_gltf(path: Path) -> Polygons:
    """The triangles of the scene that the file shows, in metres, y up, as they are at rest.

    Nodes' transforms, triangle strips and fans, sparse and normalised accessors and default weights of morph targets
    are applied; skeletons are not, which is noted. Raises DataError for what the file requires and is not applied,
    such as compression, and for what is damaged.
    """
    try:
        return _read(open_document(path))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as reason:
        # JSON may have anything anywhere; what is not of glTF ends here
        what = f"{type(reason).__name__}: {' '.join(str(reason).split())[:100]}"
        raise unreadable(path, f"its JSON is not that of a glTF ({what})") from reason


def _read(document: Document) -> Polygons:
    found, notes = Found(), list(document.notes)
    placed = list(_placed(document))
    if not placed and document.json.get("meshes"):
        notes.append("its scene shows no mesh; all meshes of the file were read, without a transform")
        placed = [({"mesh": i}, np.eye(4)) for i in range(len(document.json["meshes"]))]
    for node, transform in placed:
        _add(document, node, transform, found)
    shown = {node["mesh"] for node, _ in placed}
    unused = len(document.json.get("meshes", [])) - len(shown)
    if unused:
        notes.append(f"left out: {plural(unused, 'mesh', 'meshes')} that the scene does not show")
    if found.n_lines:
        notes.append(f"left out: {plural(found.n_lines, 'primitive')} of points or lines")
    if found.n_skinned:
        notes.append(f"{plural(found.n_skinned, 'mesh hangs', 'meshes hang')} on a skeleton, which is not applied")
    if found.n_morphed:
        notes.append(
            f"{plural(found.n_morphed, 'mesh was', 'meshes were')} read with the default weights of morph targets"
        )
    if found.outside:
        notes.append(
            f"{plural(found.outside, 'vertex lies', 'vertices lie')} outside the min and max that the file states"
        )
    if not found.faces:
        none = np.zeros(0, dtype=np.int64)
        return Polygons(np.zeros((0, 3)), none, none, tuple(notes))
    return Polygons.of_triangles(np.concatenate(found.vertices), np.concatenate(found.faces), tuple(notes))


def _placed(document: Document) -> Iterator[tuple[dict[str, Any], Floats]]:
    """Nodes of the scene that have a mesh, each with its transform (4, 4) to the scene."""
    nodes = document.json.get("nodes", [])
    if document.json.get("scenes"):
        roots = document.part("scenes", document.json.get("scene", 0)).get("nodes", [])
    else:
        roots = sorted(set(range(len(nodes))) - {child for node in nodes for child in node.get("children", [])})
    waiting = [(root, np.eye(4)) for root in reversed(roots)]
    seen: set[int] = set()
    while waiting:
        index, above = waiting.pop()
        node = document.part("nodes", index)
        if index in seen:
            raise unreadable(document.path, f"nodes[{index}] hangs below two nodes, or below itself")
        seen.add(index)
        if "EXT_mesh_gpu_instancing" in node.get("extensions", {}):
            raise unreadable(document.path, "it needs the extension EXT_mesh_gpu_instancing, which is not applied")
        transform = above @ _transform(document, index, node)
        if not np.isfinite(transform).all():
            raise unreadable(document.path, f"the transform of nodes[{index}] is not finite")
        if "mesh" in node:
            yield node, transform
        waiting += [(child, transform) for child in reversed(node.get("children", []))]


def _transform(document: Document, index: int, node: dict[str, Any]) -> Floats:
    """A node's transform to the one above, (4, 4)."""
    if "matrix" in node:
        transform = np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
        if not np.allclose(transform[3], [0, 0, 0, 1]):
            raise unreadable(document.path, f"the matrix of nodes[{index}] has a last row other than 0 0 0 1")
        return transform
    x, y, z, w = np.array(node.get("rotation", [0, 0, 0, 1]), dtype=np.float64)
    length = x * x + y * y + z * z + w * w
    if not length > 0:
        raise unreadable(document.path, f"the rotation of nodes[{index}] is zero")
    s = 2.0 / length
    turn = np.array(
        [
            [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
            [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
            [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
        ]
    )
    transform = np.eye(4)
    transform[:3, :3] = turn * np.array(node.get("scale", [1, 1, 1]), dtype=np.float64)
    transform[:3, 3] = node.get("translation", [0, 0, 0])
    return transform


def _add(document: Document, node: dict[str, Any], transform: Floats, found: Found) -> None:
    """The triangles of a node's mesh."""
    mesh = document.part("meshes", node["mesh"])
    weights = node.get("weights", mesh.get("weights", []))
    found.n_skinned += "skin" in node
    found.n_morphed += any(weights)
    mirrored = np.linalg.det(transform[:3, :3]) < 0
    for primitive in mesh["primitives"]:
        if primitive.get("mode", TRIANGLES) not in (TRIANGLES, STRIP, FAN):
            found.n_lines += 1
            continue
        if "POSITION" not in primitive["attributes"]:
            raise unreadable(document.path, f"a primitive of meshes[{node['mesh']}] has no positions")
        vertices = _positions(document, primitive, weights, found)
        faces = _faces(document, primitive, len(vertices))
        found.vertices.append(vertices @ transform[:3, :3].T + transform[:3, 3])
        found.faces.append((faces[:, ::-1] if mirrored else faces) + found.n_vertices)
        found.n_vertices += len(vertices)


def _positions(document: Document, primitive: dict[str, Any], weights: list[float], found: Found) -> Floats:
    """The vertices of a primitive, (v, 3), with morph targets added by weight."""
    index = primitive["attributes"]["POSITION"]
    accessor = document.part("accessors", index)
    if COMPRESSED in primitive.get("extensions", {}) and "bufferView" not in accessor:
        raise unreadable(document.path, f"it needs the extension {COMPRESSED}, which is not applied. Export without it")
    if accessor.get("type") != "VEC3":
        raise unreadable(document.path, f"positions in accessors[{index}] are {accessor.get('type')}, not VEC3")
    raw = stored(document, index).astype(np.float64)
    if "min" in accessor and "max" in accessor:
        low, high = np.array(accessor["min"], dtype=np.float64), np.array(accessor["max"], dtype=np.float64)
        slack = 1e-5 * np.maximum(np.abs(low), np.abs(high)) + 1e-30  # JSON rounds
        found.outside += int(((raw < low - slack) | (raw > high + slack)).any(axis=1).sum())
    vertices = values(document, index)
    for weight, target in zip(weights, primitive.get("targets", []), strict=False):
        if weight and "POSITION" in target:
            vertices = vertices + weight * values(document, target["POSITION"])
    return vertices


def _faces(document: Document, primitive: dict[str, Any], n_vertices: int) -> Indices:
    """The triangles of a primitive, (f, 3)."""
    if "indices" in primitive:
        at = stored(document, primitive["indices"])
        if at.dtype.kind != "u" or at.shape[1] != 1:
            raise unreadable(document.path, f"accessors[{primitive['indices']}] is used for indices but holds none")
        corners = at[:, 0].astype(np.int64)
    else:
        corners = np.arange(n_vertices)
    if len(corners) and corners.max() >= n_vertices:
        raise unreadable(document.path, f"a face names vertex {corners.max()}, beyond the {n_vertices} there are")
    mode = primitive.get("mode", TRIANGLES)
    if mode == TRIANGLES:
        if len(corners) % 3:
            raise unreadable(document.path, f"{len(corners)} indices make no whole number of triangles")
        return corners.reshape(-1, 3)
    if len(corners) < 3:
        return np.zeros((0, 3), dtype=np.int64)
    if mode == FAN:
        return np.stack([np.full(len(corners) - 2, corners[0]), corners[1:-1], corners[2:]], axis=1)
    faces = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
    faces[1::2] = faces[1::2, [1, 0, 2]]
    return faces
