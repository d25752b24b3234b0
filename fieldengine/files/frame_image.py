"""From a name in a file of poses to an image in its folder, whatever system wrote the name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote

from fieldengine.errors import DataError
from fieldengine.files.strict_json import Place

ENDINGS = (
    ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".exr", ".hdr", ".bmp", ".ppm", ".pgm", ".pfm", ".avif", ".gif",
    ".heic", ".jp2", ".jxl", ".pcx", ".tga",
)  # fmt: skip


def find_image(folder: Path, name: str, place: Place) -> Path:
    """The image that a frame names, or where it would be if it existed.

    The name may have slashes of either kind, %20 for a space, another case in its ending, or no ending. A link inside
    the folder is followed wherever it leads; a name may not leave the folder.

    Raises DataError for an address, a name that leaves the folder, and one that several files could be.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
        raise place.wrong(f'`file_path` is an address, "{name}". Download the image into the folder and name it')
    if any(ord(letter) < 32 or "\ud800" <= letter <= "\udfff" for letter in name):
        raise place.wrong(f"`file_path` holds a character that no name of a file has: {name!r}")
    slashed = name.replace("\\", "/")
    wanted = None if re.match(r"[A-Za-z]:/", slashed) else inside(folder, slashed)
    if wanted is None:
        raise DataError(place.path, f'{place.name} points outside the folder: "{name}"')
    for path in filter(None, (inside(folder, spelling) for spelling in _spellings(name, slashed))):
        found = path if is_there(path) else _with_ending(path, place)
        if found is not None:
            return found
    return wanted if wanted.suffix.lower() in ENDINGS else wanted.with_name(f"{wanted.name}.png")


def _spellings(name: str, slashed: str) -> list[str]:
    """Ways to write a name, the given one first: slashes, %20, and accents as one letter or two."""
    plain = [name, slashed, unquote(slashed)]
    return list(dict.fromkeys(plain + [normalize(form, text) for text in plain for form in ("NFC", "NFD")]))


def inside(folder: Path, name: str) -> Path | None:
    """The path of a name in a folder, None where its text leads out of it."""
    for root in (Path(os.path.normpath(folder.absolute())), folder.resolve()):
        path = Path(os.path.normpath(root / name))
        if path.is_relative_to(root) and path != root:
            return folder / path.relative_to(root)
    return None


def beside(path: Path) -> Iterator[Path]:
    """Images in the folder of `path` whose names differ from its own only in their ending."""
    stem = path.stem if path.suffix.lower() in ENDINGS else path.name
    try:
        with os.scandir(path.parent) as entries:  # every frame asks: a Path only for what begins alike
            files = sorted(path.with_name(entry.name) for entry in entries if entry.name.startswith(f"{stem}."))
    except OSError:
        return
    yield from (file for file in files if file.stem == stem and file.suffix.lower() in ENDINGS and is_there(file))


def is_there(path: Path) -> bool:
    """Whether a file is there."""
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system
        return False


def _with_ending(path: Path, place: Place) -> Path | None:
    ending = path.suffix.lower()
    found = list(beside(path))
    if ending in ENDINGS:
        found = [file for file in found if file.suffix.lower() == ending]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise place.wrong(f'`file_path` "{path.name}" could be any of {names}. Write the ending')
    return found[0] if found else None
