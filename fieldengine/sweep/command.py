"""From a sweep file to a folder of runs and a table: what `fieldengine sweep` does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from fieldengine.errors import FieldEngineError, SceneError
from fieldengine.sweep.plan import Cell, Sweep, read_sweep
from fieldengine.sweep.state import summary_of
from fieldengine.sweep.table import figure_of, metrics_of, shown, write_report, write_results
from fieldengine.sweep.work import Outcome, SweepFolder, run_cells

MARKS = ("done", "running", "failed", "left")


def run_sweep(
    path: Path,
    *,
    profile: str | None = None,
    out: Path | None = None,
    data: Path | None = None,
    workers: int = 1,
    device: str = "auto",
    console: Console | None = None,
) -> tuple[Path, list[Outcome]]:
    """Run what is missing of a sweep and write its table.

    Args:
        path: the sweep file.
        profile: one of the file's profiles.
        out: folder; None takes runs/<sweep>, or runs/<sweep>-<profile>. What lies there already is not run again.
        data: folder that the file's paths are relative to.
        workers: processes at once; they share the cores.

    Raises FieldEngineError where the input is wrong; a cell that fails is an outcome.
    """
    console = console or Console(stderr=True)
    sweep = read_sweep(path, profile, data)
    folder = SweepFolder(out or Path("runs") / "-".join(part for part in (sweep.name, profile) if part))
    _refuse_without_data(sweep, folder, data)
    folder.prepare(sweep)
    with _Board(sweep, folder, console) as board:
        try:
            outcomes = run_cells(sweep, folder, workers, device, board.on_progress)
        except KeyboardInterrupt:
            write_results(sweep, folder, board.outcomes("interrupted"))
            raise
    write_results(sweep, folder, outcomes)
    try:
        write_report(sweep, folder, outcomes)
    except FieldEngineError as reason:  # the runs and the table are there without it
        console.print(f"no report.html: {reason}", highlight=False, markup=False, soft_wrap=True)
    return folder.path, outcomes


def _refuse_without_data(sweep: Sweep, folder: SweepFolder, data: Path | None) -> None:
    """Raise SceneError where no cell that is left has its data: one may fail, but not all, one after the other."""
    left = [cell for cell in sweep.cells if summary_of(folder.cell(cell)).get("status") != "done"]
    paths = [getattr(cell.config.dataset, "path", None) for cell in left]
    missing = [path for path in paths if isinstance(path, Path) and not path.exists()]
    if left and len(missing) == len(left):
        others = len(set(missing)) - 1
        more = f", nor any of {others} others" if others else ""
        remedy = (
            "Name the folder of the data by --data" if data is None else f"It is not in the folder of --data, {data}"
        )
        raise SceneError(f"{missing[0]}: no such file{more}. {remedy}")


class _Board:
    """One table for the eye: a row a label, how many of its runs are done, and their mean so far."""

    def __init__(self, sweep: Sweep, folder: SweepFolder, console: Console):
        self._sweep, self._folder, self._console = sweep, folder, console
        self._summaries = {cell.name: summary_of(folder.cell(cell)) for cell in sweep.cells}
        self._states = {name: "done" if s.get("status") == "done" else "left" for name, s in self._summaries.items()}
        self._live = Live(self._table(), console=console, refresh_per_second=2) if console.is_terminal else None

    def __enter__(self) -> _Board:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(self, *reason: object) -> None:
        if self._live:
            self._live.update(self._table())
            self._live.__exit__(None, None, None)

    def on_progress(self, cell: Cell, state: str) -> None:
        was, self._states[cell.name] = self._states[cell.name], state
        self._summaries[cell.name] = summary_of(self._folder.cell(cell))
        if self._live:
            self._live.update(self._table())
        elif state != was and state != "running":
            ended = sum(some in ("done", "failed") for some in self._states.values())
            scores = self._summaries[cell.name].get("metrics", {})
            figures = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            text = f"[{ended}/{len(self._states)}] {cell.name}: {state}{f', {figures}' if figures else ''}"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def outcomes(self, otherwise: str) -> list[Outcome]:
        """How every cell stands; what is not done is called `otherwise`."""
        states = self._states
        return [Outcome(cell, "done" if states[cell.name] == "done" else otherwise) for cell in self._sweep.cells]

    def _table(self) -> Table:
        rows, outcomes, summaries = self._sweep.rows, self.outcomes("left"), self._summaries
        metric = next(iter(metrics_of(list(summaries.values()))), None)
        table = Table(escape(rows), *MARKS, metric or "", title=escape(self._sweep.name), box=None, pad_edge=False)
        for label in self._sweep.axes[rows]:
            own = [outcome for outcome in outcomes if outcome.cell.labels[rows] == label]
            counts = Counter(self._states[outcome.cell.name] for outcome in own)
            figure = figure_of([(outcome, summaries[outcome.cell.name]) for outcome in own], metric) if metric else None
            table.add_row(escape(label), *(str(counts[mark] or "") for mark in MARKS), shown(figure) if figure else "")
        return table
