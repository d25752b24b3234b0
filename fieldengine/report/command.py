"""A page about some runs: what `fieldengine report` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fieldengine.report.html import refuse_other_endings
from fieldengine.report.page import Entry, write_page
from fieldengine.runs.folder import RunFolder


def write_report(runs: Sequence[Path], out: Path) -> None:
    """Compare run folders, a row each, on a page.

    Raises FieldEngineError where `out` is no .html file or matplotlib is missing, RunError for what is no run.
    """
    refuse_other_endings(out)
    for run in runs:
        RunFolder(run).last_checkpoint()
    summaries = [RunFolder(run).read_summary() for run in runs]
    metrics = list(dict.fromkeys(name for summary in summaries for name in summary.get("metrics", {})))
    names = [run.name for run in runs]
    labels = names if len(set(names)) == len(names) else [str(run) for run in runs]
    rows = []
    for label, summary in zip(labels, summaries, strict=True):
        scores = summary.get("metrics", {})
        about = [str(summary.get(key, "")) for key in ("status", "steps", "seconds_train", "n_parameters")]
        rows.append([label, *about, *(f"{scores[name]:.4f}" if name in scores else "-" for name in metrics)])
    title = "Runs" if len(runs) > 1 else str(runs[0])
    heads = ["run", "status", "steps", "s of training", "parameters", *metrics]
    write_page(out, title, [Entry(label, [run]) for label, run in zip(labels, runs, strict=True)], heads, rows)
