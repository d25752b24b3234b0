"""`fieldengine sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fieldengine.cli.app import Device, DeviceOption, app, complain, err_console, out_console, say


@app.command()
def sweep(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="The sweep file (.yaml).")],
    profile: Annotated[str | None, typer.Option(help="One of the file's profiles.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<sweep>. Finished runs are kept.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that the file's paths are relative to.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Parallel runs; they share the cores.")] = 1,
    device: DeviceOption = Device.auto,
) -> None:
    """Train the missing runs of a grid of scenes and write one table."""
    from fieldengine.sweep.command import run_sweep

    folder, outcomes = run_sweep(
        sweep, profile=profile, out=out, data=data, workers=workers, device=device.value, console=err_console
    )
    out_console.print((folder / "table.md").read_text(encoding="utf-8"), markup=False, highlight=False, soft_wrap=True)
    say(str(folder))
    failed = [outcome for outcome in outcomes if outcome.status != "done"]
    for outcome in failed:
        complain(f"{outcome.cell.name} {outcome.status}: {outcome.reason}")
    if failed:
        raise typer.Exit(1)
