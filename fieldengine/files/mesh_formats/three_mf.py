"""3MF: the objects that a build places, in the unit that the file states."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from fieldengine.files.mesh_formats.polygons import Floats, Indices, Polygons, plural, unreadable

CORE = "{http://schemas.microsoft.com/3dmanufacturing/core/2015/02}"
NO_SHAPE = ("/material/", "/production/", "/secureContent/")  # extensions that leave vertices alone, or are applied
UNITS = ("micron", "millimeter", "centimeter", "inch", "foot", "meter")
LARGEST = 1 << 31  # bytes of a part once unpacked
DEEPEST = 32


@dataclass
class Package:
    """A file's parts, each read once."""

    path: Path
    archive: zipfile.ZipFile
    parts: dict[str, Element] = field(default_factory=dict)

    def part(self, name: str) -> Element:
        """The XML of a part. Raises DataError where it is missing, too large, or no model."""
        name = name.lstrip("/")
        if name not in self.parts:
            try:
                if self.archive.getinfo(name).file_size > LARGEST:
                    raise unreadable(self.path, f'its part "{name}" is larger than 2 GB')
                content = self.archive.read(name)
            except KeyError as reason:
                raise unreadable(self.path, f'it has no part "{name}"') from reason
            if b"<!DOCTYPE" in content[:4096]:
                raise unreadable(self.path, f'its part "{name}" defines entities, which no 3MF does')
            self.parts[name] = ElementTree.fromstring(content)
        return self.parts[name]


def read_3mf(path: Path) -> Polygons:
    """The triangles of all items of the build, each where the build and its components place it.

    Raises DataError for a damaged package and for required extensions that are not applied. Supports are left out.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(Package(path, archive))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as reason:
        said = " ".join(str(reason).split())[:150]
        raise unreadable(path, f"its package is damaged or cut short: {said}") from reason
    except ElementTree.ParseError as reason:
        raise unreadable(path, f"its XML is damaged: {str(reason)[:150]}") from reason
    except (KeyError, ValueError, OverflowError) as reason:
        raise unreadable(path, f"its model is not that of a 3MF ({' '.join(str(reason).split())[:100]})") from reason


def _read(package: Package) -> Polygons:
    links = package.part("_rels/.rels")
    name = next((link.attrib["Target"] for link in links if link.attrib["Type"].endswith("/3dmodel")), None)
    if name is None:
        raise unreadable(package.path, "it links to no model")
    model = package.part(name)
    if model.tag != CORE + "model":
        raise unreadable(package.path, f'its model is "{model.tag[-60:]}", not that of a 3MF')
    if model.get("unit", "millimeter") not in UNITS:
        raise unreadable(package.path, f'its unit is "{model.get("unit")}"; known: {", ".join(UNITS)}')
    _refuse_extensions(package)
    vertices: list[Floats] = [np.zeros((0, 3))]
    faces: list[Indices] = [np.zeros((0, 3), dtype=np.int64)]
    n_vertices = n_supports = 0
    for item in model.iterfind(f"{CORE}build/{CORE}item"):
        for kind, at, triangles in _placed(package, item, name, np.eye(4), 0):
            if kind in ("support", "solidsupport"):
                n_supports += 1
                continue
            vertices.append(at)
            faces.append(triangles + n_vertices)
            n_vertices += len(at)
    notes = (f"left out: {plural(n_supports, 'object')} for support",) if n_supports else ()
    return Polygons.of_triangles(np.concatenate(vertices), np.concatenate(faces), notes)


def _refuse_extensions(package: Package) -> None:
    """Raises DataError for a required extension of the main model that could change the shape."""
    for name in list(package.parts):
        required = package.parts[name].get("requiredextensions", "").split()
        if not required:
            continue
        with package.archive.open(name) as part:
            spaces = dict(found for _, found in ElementTree.iterparse(part, events=("start-ns",)))
        for prefix in required:
            space = spaces.get(prefix, prefix)
            if not any(part in space for part in NO_SHAPE):
                raise unreadable(package.path, f"it requires the extension {space}, which is not applied")


def _placed(
    package: Package, link: Element, part: str, above: Floats, depth: int
) -> Iterator[tuple[str, Floats, Indices]]:
    """Kind, vertices and triangles of each mesh below an item or a component."""
    if depth > DEEPEST:
        raise unreadable(package.path, "its components contain each other")
    part = next((value for name, value in link.attrib.items() if name.endswith("}path")), part)
    placed = _transform(link.get("transform")) @ above
    if not np.isfinite(placed).all():
        raise unreadable(package.path, f'the transform "{link.get("transform")}" is not finite')
    number = link.attrib["objectid"]
    found = package.part(part).iterfind(f"{CORE}resources/{CORE}object")
    thing = next((each for each in found if each.get("id") == number), None)
    if thing is None:
        raise unreadable(package.path, f"it places object {number}, and there is none")
    mesh = thing.find(CORE + "mesh")
    if mesh is not None:
        at = np.array(
            [[float(v.attrib[axis]) for axis in "xyz"] for v in mesh.iterfind(f"{CORE}vertices/{CORE}vertex")]
        )
        corners = [
            [int(t.attrib[corner]) for corner in ("v1", "v2", "v3")]
            for t in mesh.iterfind(f"{CORE}triangles/{CORE}triangle")
        ]
        triangles = np.array(corners, dtype=np.int64).reshape(-1, 3)
        if len(triangles) and not 0 <= triangles.min() <= triangles.max() < len(at):
            raise unreadable(package.path, f"object {number} names vertices beyond the {len(at)} there are")
        mirrored = np.linalg.det(placed[:3, :3]) < 0
        moved = at.reshape(-1, 3) @ placed[:3, :3] + placed[3, :3]
        yield thing.get("type", "model"), moved, triangles[:, ::-1] if mirrored else triangles
    for component in thing.iterfind(f"{CORE}components/{CORE}component"):
        yield from _placed(package, component, part, placed, depth + 1)


def _transform(text: str | None) -> Floats:
    """Twelve numbers as the matrix (4, 4) that a row x y z 1 is multiplied by."""
    matrix = np.eye(4)
    if text is not None:
        matrix[:, :3] = np.array([float(word) for word in text.split()]).reshape(4, 3)
    return matrix
