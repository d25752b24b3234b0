"""When a run was how good: figures taken from its curve of scores over steps and seconds of training.

    milestones:
      psnr: {reach: [30, 35], after_seconds: [60], after_steps: [250, 1000]}

The scores are those of the scene's evaluations, so `evaluation.every` says how fine the curve is; between two of them
it is a straight line. A run that is as good by its first one counts with that one; what a run has not reached has no
figure. Of errors and distances, where less is better, a number is reached from above.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = ("reach", "after_seconds", "after_steps")
Point = tuple[float, float, float]  # step, seconds, score


@dataclass(frozen=True)
class Milestone:
    """A place on the curve of a metric: where it first reaches `number`, or what it is after `number`."""

    metric: str
    kind: str
    number: float
    higher_is_better: bool = True

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of its figures."""
        if self.kind == "reach":
            return tuple(f"{unit} to {self.metric} {self.number:g}" for unit in ("steps", "seconds"))
        return (f"{self.metric} after {self.number:g} {self.kind.removeprefix('after_')}",)

    def figures(self, curve: Sequence[Point]) -> tuple[float, ...] | None:
        """As many as it has heads, None where the curve does not come to it."""
        if self.kind == "reach":
            point = self._reached(curve)
            return None if point is None else point[:2]
        axis = {"after_steps": 0, "after_seconds": 1}[self.kind]
        for before, after in itertools.pairwise(curve):
            if before[axis] <= self.number <= after[axis]:
                return (_between(before, after, axis, self.number)[2],)
        return None

    def _reached(self, curve: Sequence[Point]) -> Point | None:
        """Where the curve first is as good as the number."""
        sign = 1.0 if self.higher_is_better else -1.0
        for before, after in zip([None, *curve], curve, strict=False):
            if sign * after[2] >= sign * self.number:
                return after if before is None else _between(before, after, 2, self.number)
        return None


def _between(before: Point, after: Point, axis: int, number: float) -> Point:
    """The point of the straight line from one to the other that has this number."""
    share = (number - before[axis]) / (after[axis] - before[axis] or 1.0)
    step, seconds, score = (a + share * (b - a) for a, b in zip(before, after, strict=True))
    return step, seconds, score


def milestone_figures(folder: Path, milestones: Sequence[Milestone]) -> dict[str, float]:
    """Name -> figure of a run folder, without those that it did not come to."""
    found: dict[str, float] = {}
    curves = {milestone.metric: list(_curve(folder, milestone.metric)) for milestone in milestones}
    for milestone in milestones:
        figures = milestone.figures(curves[milestone.metric])
        found |= zip(milestone.heads, figures, strict=True) if figures else ()
    return found


def _curve(folder: Path, metric: str) -> Iterator[Point]:
    path = folder / "metrics.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        found: Mapping[str, float] = json.loads(line)
        if metric in found:
            yield found["step"], found["seconds"], found[metric]
