"""The container of glTF 2.0: JSON and the buffers it names, in one .glb or beside a .gltf."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from fieldengine.files.mesh_formats.polygons import plural, unreadable

JSON, BINARY = 0x4E4F534A, 0x004E4942  # types of chunks
SHAPELESS = (  # beginnings of extensions that change no position
    "KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_", "EXT_lights_", "KHR_xmp", "MSFT_texture_",
    "KHR_animation_pointer", "EXT_structural_metadata", "EXT_mesh_features", "KHR_audio",
)  # fmt: skip
APPLIED = ("KHR_mesh_quantization",)


@dataclass(frozen=True)
class Document:
    """`json` as the file has it, and the bytes of each of its buffers; None for one that has none of its own."""

    path: Path
    json: dict[str, Any]
    buffers: list[bytes | None]
    notes: tuple[str, ...] = ()

    def part(self, kind: str, index: Any) -> dict[str, Any]:
        """Number `index` of a list of the file, such as `accessors`. Raises DataError where it is not there."""
        parts = self.json.get(kind, [])
        if not (isinstance(index, int) and isinstance(parts, list) and 0 <= index < len(parts)):
            raise unreadable(self.path, f"it names {kind}[{index}], and there is none")
        if not isinstance(parts[index], dict):
            raise unreadable(self.path, f"{kind}[{index}] is no object")
        return parts[index]


def open_document(path: Path) -> Document:
    """Raises DataError for a damaged container, another version than 2, and required extensions not known here."""
    content = path.read_bytes()
    binary, notes = None, []
    if content.startswith(b"glTF"):
        content, binary, notes = _chunks(path, content)
    elif path.suffix.lower() == ".glb":
        raise unreadable(path, 'it does not begin with "glTF"')
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as reason:
        raise unreadable(path, f"its JSON is damaged: {reason}") from reason
    if not isinstance(found, dict) or not isinstance(found.get("asset"), dict):
        raise unreadable(path, 'its JSON has no "asset", which every glTF has')
    version = str(found["asset"].get("minVersion", found["asset"].get("version")))
    if version not in ("2", "2.0"):
        raise unreadable(path, f"it is glTF {version}; version 2.0 is read")
    for name in found.get("extensionsRequired", []):
        if name not in APPLIED and not str(name).startswith(SHAPELESS):
            raise unreadable(path, f"it requires the extension {name}, which is not applied. Export without it")
    buffers = [_buffer(path, i, buffer, binary) for i, buffer in enumerate(found.get("buffers", []))]
    return Document(path, found, buffers, tuple(notes))


def _chunks(path: Path, content: bytes) -> tuple[bytes, bytes | None, list[str]]:
    """JSON and, if there, the binary chunk of a .glb."""
    version, length = (int.from_bytes(content[at : at + 4], "little") for at in (4, 8))
    if len(content) >= 8 and version != 2:
        raise unreadable(path, f"it is a binary glTF of version {version}; version 2 is read")
    if len(content) < 20 or len(content) < length:
        raise unreadable(path, f"it promises {length} bytes but has {len(content)}; the file is cut short")
    chunks: dict[int, bytes] = {}
    at = 12
    while at + 8 <= length:
        size, kind = (int.from_bytes(content[i : i + 4], "little") for i in (at, at + 4))
        if at + 8 + size > length:
            raise unreadable(path, f"a chunk of {size} bytes reaches beyond its {length} bytes; the file is damaged")
        chunks.setdefault(kind, content[at + 8 : at + 8 + size])
        at += 8 + size
    if JSON not in chunks:
        raise unreadable(path, "it has no chunk of JSON")
    more = len(content) - length
    notes = [f"not read: {plural(more, 'byte')} after the {length} it promises"] if more else []
    return chunks[JSON], chunks.get(BINARY), notes


def _buffer(path: Path, index: int, buffer: Any, binary: bytes | None) -> bytes | None:
    if not isinstance(buffer, dict):
        raise unreadable(path, f"buffers[{index}] is no object")
    uri, length = buffer.get("uri"), buffer.get("byteLength", 0)
    if uri is None:
        found = binary if index == 0 else None
        if found is None:
            return None  # refused where something reads it: an extension may fill it
    elif uri.startswith("data:"):
        head, _, body = uri.partition(",")
        try:
            found = base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
        except (binascii.Error, ValueError) as reason:
            raise unreadable(path, f"buffers[{index}] holds damaged base64 data") from reason
    else:
        found = _beside(path, index, unquote(uri))
    if len(found) < length:
        raise unreadable(path, f"buffers[{index}] promises {length} bytes but has {len(found)}; the file is cut short")
    return found


def _beside(path: Path, index: int, uri: str) -> bytes:
    """A buffer's own file. It must lie in the folder of the .gltf: a mesh is no reason to read anything else."""
    folder = path.resolve().parent
    try:
        file = (folder / uri).resolve()
        if ":" in uri or not file.is_relative_to(folder):
            raise unreadable(
                path, f'buffers[{index}] is "{uri[:100]}", outside the folder of the file; this is not read'
            )
        if not file.is_file():
            raise unreadable(path, f'buffers[{index}] is in "{uri[:100]}", and there is no such file beside it')
        return file.read_bytes()
    except (OSError, ValueError) as reason:
        raise unreadable(path, f'buffers[{index}] names "{uri[:100]}", which cannot be opened') from reason
