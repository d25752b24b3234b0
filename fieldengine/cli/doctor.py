"""`fieldengine doctor`: what this machine has, and what is broken or missing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from rich.markup import escape
from rich.table import Table

from fieldengine.cli.app import app, out_console

PACKAGES = (
    "fieldengine",
    "torch",
    "numpy",
    "imageio",
    "av",
    "trimesh",
    "libigl",
    "PyMCubes",
    "safetensors",
    "torchmetrics",
    "pydantic",
)


@app.command()
def doctor() -> None:
    """Show what this machine has, and what is broken or missing."""
    table = Table("what", "found", box=None, pad_edge=False)
    for what, found in findings():
        table.add_row(what, found)
    out_console.print(table)


def findings() -> Iterator[tuple[str, str]]:
    """Pairs of what was checked and what was found, problems in red."""
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, f"[red]missing:[/] pip install {name}"
    import torch

    from fieldengine.errors import PluginError
    from fieldengine.metrics import lpips
    from fieldengine.plugins.registry import Registry

    yield "CPU threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    if torch.cuda.is_available():
        yield "GPU", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    else:
        yield "GPU", "none that torch can use; everything runs on the CPU"
    for network in lpips.WEIGHTS:
        yield f"lpips_{network}", escape(lpips.lacking(network)) or "can be computed"
    registry = Registry()
    broken = []
    for plugin in registry:
        try:
            plugin.load()
        except PluginError as reason:
            broken.append(escape(str(reason)))
    yield "plugins", f"{sum(1 for _ in registry)} installed" + ("" if not broken else f", [red]{len(broken)} broken[/]")
    for text in broken:
        yield "", text
