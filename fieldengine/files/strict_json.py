"""JSON that says one thing: UTF-8, no key twice, numbers that are numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldengine.errors import DataError

MARKS = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
DEEPEST = 32  # what reads further walks by recursion; files of poses have 4 levels


@dataclass(frozen=True)
class Place:
    """A part of a file, for messages: `name` is such as `frame 3`, empty for the file as a whole."""

    path: Path
    name: str = ""

    def wrong(self, message: str) -> DataError:
        return DataError(self.path, f"{self.name}: {message}" if self.name else message)


def read_json(path: Path) -> Any:
    """What a file of JSON holds; NaN and Infinity are read, for `number` to refuse where they stand.

    Raises DataError for what is missing, no JSON in UTF-8, nested too deeply, or has a key twice.
    """
    try:
        raw = path.read_bytes()
        coding = next((name for mark, name in MARKS.items() if raw.startswith(mark)), "")
        if not coding and b"\x00" in raw[:4]:
            coding = "UTF-16 or UTF-32"
        if coding:
            raise DataError(path, f"cannot be read as JSON: it is {coding} text. Save it as UTF-8")
        found = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_object)
    except RecursionError as reason:
        raise DataError(path, "cannot be read as JSON: it is nested too deeply") from reason
    except (OSError, ValueError) as reason:
        said = getattr(reason, "strerror", None) or str(reason)
        raise DataError(path, f"cannot be read as JSON: {said}") from reason
    if _is_deep(found):
        raise DataError(path, "cannot be read as JSON: it is nested too deeply")
    return found


def number(value: Any, key: str, place: Place, *, least: float = -math.inf, unit: str = "") -> float:
    """A finite number not below `least`. Raises DataError, which says what was found."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.wrong(f"`{key}` must be a number{unit}, found {shown(value)}{_hint(value)}")
    if not is_finite(value):
        raise place.wrong(f"`{key}` must be a finite number{unit}, found {shown(value)}")
    if value < least:
        raise place.wrong(f"`{key}` must be at least {least:g}{unit}, found {shown(value)}")
    return float(value)


def is_finite(value: float) -> bool:
    """Whether a number is finite and fits into a float; whole numbers of JSON have no limit."""
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def not_finite(value: Any, key: str) -> str:
    """The place of the first number inside `value` that is not finite, such as `aabb[0][2]`, or an empty string."""
    if isinstance(value, dict):
        parts = ((part, f"{key}.{name}") for name, part in value.items())
    elif isinstance(value, list):
        parts = ((part, f"{key}[{i}]") for i, part in enumerate(value))
    else:
        return key if isinstance(value, int | float) and not is_finite(value) else ""
    return next((found for part, name in parts if (found := not_finite(part, name))), "")


def shown(value: Any) -> str:
    """A value as JSON writes it, shortened."""
    return legible(json.dumps(value, ensure_ascii=False))


def legible(text: str) -> str:
    """A text of a file for a message: shortened, and without what would not print."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _is_deep(found: Any) -> bool:
    level = [found]
    for _ in range(DEEPEST):
        level = [part for value in level if isinstance(value, dict | list) for part in _parts(value)]
        if not level:
            return False
    return True


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _hint(value: Any) -> str:
    return ", a text: write it without quotes" if isinstance(value, str) else ""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        first = next((f" of {key} {shown(value)}" for key, value in pairs if isinstance(value, str)), "")
        raise ValueError(f"the object{first} has the key `{twice}` twice; keep one")
    return found
