"""Text as programs write it: with or without a byte order mark, in any line ends."""

from __future__ import annotations

import codecs
from pathlib import Path

from fieldengine.files.mesh_formats.polygons import unreadable


def text_of(path: Path, content: bytes) -> str:
    """The text of a file whose words and numbers are ASCII; names and comments may be in any encoding.

    Raises DataError for bytes that are no text.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as reason:
            raise unreadable(path, "it begins as UTF-16 but holds bytes that are no text") from reason
    if b"\0" in content:
        raise unreadable(path, "it holds bytes that are no text")
    return content.removeprefix(codecs.BOM_UTF8).decode("latin-1")


def lines_of(text: str) -> list[str]:
    """Lines as editors count them. `str.splitlines` would also split at form feeds and others."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def number(path: Path, line: int, word: str) -> float:
    """A decimal number of the given line. Raises DataError where it is none; Python alone would take `1_000`."""
    try:
        if "_" not in word:
            return float(word)
    except ValueError:
        pass
    raise unreadable(path, f'line {line}: "{word[:40]}" is not a number')


def numbers(path: Path, line: int, words: list[str]) -> list[float]:
    """`number` of each word, in a fraction of the time where all of them are."""
    try:
        if "_" not in "".join(words):
            return list(map(float, words))
    except ValueError:
        pass
    return [number(path, line, word) for word in words]


def whole_numbers(path: Path, line: int, words: list[str]) -> list[int]:
    """`whole_number` of each word, in a fraction of the time where all of them are."""
    try:
        if "_" not in "".join(words):
            return list(map(int, words))
    except ValueError:
        pass
    return [whole_number(path, line, word) for word in words]


def whole_number(path: Path, line: int, word: str) -> int:
    """An integer of the given line. Raises DataError where it is none."""
    try:
        if "_" not in word:
            return int(word)
    except ValueError:
        pass
    raise unreadable(path, f'line {line}: "{word[:40]}" is not a whole number')
