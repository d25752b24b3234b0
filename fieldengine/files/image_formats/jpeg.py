"""JPEG: whole files only, because decoders fill what is missing with grey."""

from __future__ import annotations

import re
from pathlib import Path

from fieldengine.files.image_formats.ffmpeg import is_sound
from fieldengine.files.image_formats.pillow import read_with_pillow
from fieldengine.files.image_formats.stored import Stored

MARKER = re.compile(
    rb"\xff([\x01-\xcf\xd8-\xfe])"
)  # within a scan, FF00 is a byte FF and FFD0 to FFD7 only synchronise
END, SCAN = 0xD9, 0xDA


def read_jpeg(path: Path) -> Stored:
    """Raises ValueError for a file that ends before its picture does, and for a picture with holes."""
    data = path.read_bytes()
    if not is_whole(data):
        raise ValueError("the JPEG is cut short")
    found = read_with_pillow(path, "JPEG")
    if not is_sound("mjpeg", data):  # Pillow fills with grey what it cannot decode
        raise ValueError("the JPEG is damaged, and a part of its picture is missing")
    return found


def is_whole(data: bytes) -> bool:
    """Whether the end of the image follows a scan. A thumbnail inside a segment has an end of its own."""
    at, scanned = 2, False
    while found := MARKER.search(data, at):
        kind = found[1][0]
        if kind == END:
            return scanned
        scanned = scanned or kind == SCAN
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return False
