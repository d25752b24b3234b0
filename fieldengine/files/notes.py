"""What the user should know of how files were read: one sentence of a kind, however many frames it is true of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Note:
    """`text` is what follows `where`, such as `frame 3`; notes of one `kind` become one sentence."""

    kind: str
    where: str
    text: str

    def within(self, where: str) -> Note:
        """The same of a larger whole, such as the file that the frame is in."""
        return replace(self, where=f"{where}: {self.where}" if self.where else where)


def merged(notes: Iterable[Note]) -> tuple[str, ...]:
    """One sentence per kind: the first of it, and how many others are like it."""
    kinds: dict[str, dict[str, Note]] = {}
    for note in notes:
        kinds.setdefault(note.kind, {}).setdefault(note.where, note)
    return tuple(_sentence(list(alike.values())) for alike in kinds.values())


def _sentence(alike: list[Note]) -> str:
    first, others = alike[0], len(alike) - 1
    if not first.where:  # it is true of the whole, and so of every part
        return first.text
    more = f" and {others} other{'s' * (others > 1)}" if others else ""
    return f"{first.where}{more}: {first.text}"
