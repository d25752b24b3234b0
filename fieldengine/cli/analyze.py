"""`fieldengine analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fieldengine.cli.app import Device, DeviceOption, RunFolderArgument, app, say


@app.command()
def analyze(
    run: RunFolderArgument,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("analysis.html"),
    device: DeviceOption = Device.auto,
) -> None:
    """Show on one HTML page how a field learned: its tangent kernel and spectral error at every checkpoint."""
    from fieldengine.report.kernel import write_analysis

    write_analysis(run, out, device.value)
    say(str(out))
