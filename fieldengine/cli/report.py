"""`fieldengine report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fieldengine.cli.app import app, say


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders to compare.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
) -> None:
    """Compare runs on one HTML page: scores, learning curves, images and their errors, spectra."""
    from fieldengine.report.command import write_report

    write_report(runs, out)
    say(str(out))
