"""What came of a sweep: results.csv with a line for each cell, table.md with a row for each label of one axis, and
report.html with plots and images besides.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fieldengine.export.files import atomic
from fieldengine.report.page import Entry, write_page
from fieldengine.sweep.milestones import milestone_figures
from fieldengine.sweep.plan import SEED, Sweep
from fieldengine.sweep.state import summary_of
from fieldengine.sweep.work import Outcome, SweepFolder


@dataclass(frozen=True)
class Figure:
    """A mean over the cells of a row, how much it differs from seed to seed, and how many of how many cells it has."""

    mean: float
    deviation: float | None
    n_cells: int


def write_results(sweep: Sweep, folder: SweepFolder, outcomes: Sequence[Outcome]) -> None:
    """results.csv and table.md of what has ended so far."""
    summaries = _summaries(sweep, folder, outcomes)
    metrics = _columns(sweep, summaries)
    with atomic(folder.path / "results.csv") as file, file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*sweep.axes, "status", "steps", "seconds_train", *metrics, "reason"])
        for outcome, summary in zip(outcomes, summaries, strict=True):
            scores = summary.get("metrics", {})
            about = [summary.get("steps", ""), summary.get("seconds_train", "")]
            numbers = [scores.get(metric, "") for metric in metrics]
            writer.writerow([*outcome.cell.labels.values(), outcome.status, *about, *numbers, outcome.reason])
    with atomic(folder.path / "table.md") as file:
        file.write_text(table(sweep, outcomes, summaries).markdown(), encoding="utf-8")


def write_report(sweep: Sweep, folder: SweepFolder, outcomes: Sequence[Outcome]) -> None:
    """report.html of the runs that are done. Raises FieldEngineError where matplotlib is missing."""
    summaries = _summaries(sweep, folder, outcomes)
    done = [outcome.cell for outcome in outcomes if outcome.status == "done"]
    entries = [
        Entry(label, [folder.cell(cell) for cell in done if cell.labels[sweep.rows] == label])
        for label in sweep.axes[sweep.rows]
    ]
    found = table(sweep, outcomes, summaries)
    write_page(folder.path / "report.html", sweep.name, entries, found.heads, found.rows, found.notes)


def _summaries(sweep: Sweep, folder: SweepFolder, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """What the runs say of themselves, milestones among their metrics."""
    found = []
    for path in (folder.cell(outcome.cell) for outcome in outcomes):
        summary = summary_of(path)
        if summary:
            summary["metrics"] = summary.get("metrics", {}) | milestone_figures(path, sweep.milestones)
        found.append(summary)
    return found


def metrics_of(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """Every metric of the runs, in the order they report them."""
    return list(dict.fromkeys(metric for summary in summaries for metric in summary.get("metrics", {})))


def _columns(sweep: Sweep, summaries: Sequence[dict[str, Any]]) -> list[str]:
    """The metrics, then the milestones, also those that no run came to."""
    heads = [head for milestone in sweep.milestones for head in milestone.heads]
    return [*(metric for metric in metrics_of(summaries) if metric not in heads), *heads]


@dataclass(frozen=True)
class Table:
    """What a sweep found: a row a label, a column a metric, and sentences about them."""

    heads: list[str]
    rows: list[list[str]]
    notes: list[str]

    def markdown(self) -> str:
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        table = [f"| {' | '.join(map(_in_a_cell, cells))} |" for cells in lines]
        return "\n".join([*table, "", *self.notes]) + "\n"


def _in_a_cell(text: str) -> str:
    """Text as Markdown shows it in a table, whatever marks it holds."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def table(sweep: Sweep, outcomes: Sequence[Outcome], summaries: Sequence[dict[str, Any]]) -> Table:
    """Means and their deviation over seeds, published numbers beside ours."""
    metrics = _columns(sweep, summaries)
    heads = [sweep.rows]
    for metric in metrics:
        heads += [metric, f"{metric}, published"] if metric in sweep.published else [metric]
    rows: list[list[str]] = []
    partial = none = False
    for label in sweep.axes[sweep.rows]:
        own = [
            (outcome, summary)
            for outcome, summary in zip(outcomes, summaries, strict=True)
            if outcome.cell.labels[sweep.rows] == label
        ]
        cells = [label]
        for metric in metrics:
            figure = figure_of(own, metric)
            some = figure is not None and figure.n_cells < len(own)
            partial, none = partial or some, none or figure is None
            cells.append("-" if figure is None else shown(figure) + some * f" ({figure.n_cells} of {len(own)})")
            if metric in sweep.published:
                number = sweep.published[metric].get(label)
                cells.append("" if number is None else f"{number:g}")
        rows.append(cells)
    others = [name for name in sweep.axes if name not in (sweep.rows, SEED)]
    over = ", ".join(f"{len(sweep.axes[name])} of {name}" for name in others)
    n_seeds = len(sweep.axes[SEED])
    seeds = f"{n_seeds} seeds; ± is the deviation from seed to seed" if n_seeds > 1 else "one seed"
    notes = [f"Means over {over + ' and ' if over else ''}{seeds}."]
    if partial:
        notes.append("(1 of 3): the mean of one run of three; the others have not ended well, or did not come to it.")
    if none:
        notes.append("-: none of the row's runs has ended well and come to it.")
    return Table(heads, rows, notes)


def figure_of(own: Sequence[tuple[Outcome, dict[str, Any]]], metric: str) -> Figure | None:
    """A row's mean over its cells that are done; the deviation is that of the means of its seeds."""
    by_seed: dict[str, list[float]] = {}
    for outcome, summary in own:
        if outcome.status == "done" and metric in summary.get("metrics", {}):
            by_seed.setdefault(outcome.cell.labels[SEED], []).append(float(summary["metrics"][metric]))
    if not by_seed:
        return None
    values = [value for some in by_seed.values() for value in some]
    means = [statistics.mean(some) for some in by_seed.values()]
    deviation = statistics.stdev(means) if len(means) > 1 else None
    return Figure(statistics.mean(values), deviation, len(values))


def shown(figure: Figure) -> str:
    """Two decimals for decibels, four significant digits for what is smaller."""
    digits = ".2f" if abs(figure.mean) >= 10 else ".4g"
    text = format(figure.mean, digits)
    return text if figure.deviation is None else f"{text} ± {figure.deviation:.2g}"
