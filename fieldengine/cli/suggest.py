"""`fieldengine suggest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fieldengine.cli.app import Device, DeviceOption, OverridesArgument, SceneArgument, app, out_console, say


@app.command()
def suggest(
    scene: SceneArgument,
    overrides: OverridesArgument = None,
    out: Annotated[Path | None, typer.Option(help="Also plot the spectra: .svg, .png or .pdf.")] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Before training, find the frequency with which the untrained field's spectrum is closest to the data's.

    Distances are in cycles per image.
    """
    from fieldengine.runs.train import suggest as make_suggestions

    found = make_suggestions(scene, overrides or (), device=device.value)
    for suggestion in found:
        largest = max(trial.distance for trial in suggestion.trials) or 1.0
        table = Table(suggestion.key, "distance", "", box=None, pad_edge=False)
        for trial in suggestion.trials:
            bar = "█" * max(1, round(30 * trial.distance / largest))
            best = trial is suggestion.best
            table.add_row(f"{trial.value:g}", f"{trial.distance:.2f}", bar, style="bold green" if best else None)
        out_console.print(table)
        say(f"write {suggestion.key}={suggestion.best.value:g}\n")
    if out is not None:
        from fieldengine.report.spectra import plot_suggestions

        for file in plot_suggestions(found, out):
            say(str(file))
