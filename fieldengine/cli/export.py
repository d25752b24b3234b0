"""`fieldengine export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fieldengine.cli.app import Device, DeviceOption, RunArgument, app, say


@app.command()
def export(
    kind: Annotated[
        str, typer.Argument(metavar="mesh|points|field", help="What to write; `plugins list` shows all exporters.")
    ],
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="Output file; its suffix sets the format.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Further options of the exporter, such as points=5000."),
    ] = None,
    resolution: Annotated[int | None, typer.Option(help="Cells along the longest edge of the box.")] = None,
    level: Annotated[float | None, typer.Option(help="Distance or density at the surface.")] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Write a mesh (.ply .obj .stl .glb), a point cloud (.ply .xyz) or the field itself (.safetensors)."""
    from fieldengine.export.command import export_file
    from fieldengine.runs.load import load

    named = {"resolution": resolution, "level": level}
    given = {name: value for name, value in named.items() if value is not None}
    opened = load(run, device.value)
    with opened.at_work():
        sentence = export_file(opened.trained, kind, out, given, overrides or ())
    say(f"{out}: {sentence}")
