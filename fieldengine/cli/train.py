"""`fieldengine train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fieldengine.cli.app import Device, DeviceOption, OverridesArgument, SceneArgument, app, err_console


@app.command()
def train(
    scene: SceneArgument,
    overrides: OverridesArgument = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<scene>, or the next free number.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    device: DeviceOption = Device.auto,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")] = False,
) -> None:
    """Fit a field to a scene's data and write a run folder."""
    from fieldengine.runs.train import train as run_training

    run = run_training(
        scene, overrides or (), out=out, resume=resume, device=device.value, quiet=quiet, console=err_console
    )
    if run.status == "interrupted":
        raise typer.Exit(130)
