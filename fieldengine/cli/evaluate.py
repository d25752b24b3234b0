"""`fieldengine eval`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fieldengine.cli.app import Device, DeviceOption, RunFolderArgument, app, out_console


@app.command("eval")
def evaluate(
    run: RunFolderArgument,
    split: Annotated[str, typer.Option(help="Split: train, val or test.")] = "test",
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A metric; may be repeated. Default: the run's own."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: DeviceOption = Device.auto,
) -> None:
    """Score a trained field on its data."""
    from fieldengine.runs.load import load

    scores = load(run, device.value).evaluate(split, metric or ())
    if as_json:
        print(json.dumps(scores))  # noqa: T201 - for other programs: no colour, no wrapping
        return
    table = Table("metric", "value", title=escape(str(run)))
    for name, value in scores.items():
        table.add_row(name, f"{value:.4f}")
    out_console.print(table)
