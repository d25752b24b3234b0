"""`fieldengine render`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fieldengine.cli.app import Device, DeviceOption, RunArgument, app, err_console, say, warn
from fieldengine.errors import FieldEngineError


@app.command()
def render(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option(help="An image (.png ...) or a video (.mp4); default: in the run's images/.")
    ] = None,
    scale: Annotated[float | None, typer.Option(min=0.01, help="Factor on the pixels per side.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Size in pixels, such as 640x480.")] = None,
    path: Annotated[str | None, typer.Option(help="Camera path: orbit, spiral, or a JSON file of poses.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Number of frames of an orbit or spiral, 60 where not given.")
    ] = None,
    fps: Annotated[int, typer.Option(min=1, max=240, help="Frames per second of a video.")] = 30,
    device: DeviceOption = Device.auto,
) -> None:
    """Render a trained field: an image, or a video along a camera path."""
    from fieldengine.progress import counting
    from fieldengine.runs.load import load

    loaded = load(run, device.value)
    with counting(err_console, "render") as on_progress:
        file = loaded.render(
            out,
            scale=scale,
            size=size_of(size),
            path=path,
            frames=frames,
            fps=fps,
            on_progress=on_progress,
            on_note=warn,
        )
    say(str(file))


def size_of(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise FieldEngineError(f'--size "{text}" is not WIDTHxHEIGHT, such as 640x480')
    return int(width), int(height)
