"""The command line: parse, call, print. No logic, and no torch before a command needs it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from fieldengine.errors import FieldEngineError

if TYPE_CHECKING:
    from fieldengine.registry import Plugin

app = typer.Typer(
    name="fieldengine",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Neural fields from one scene file: images, signed distances, radiance fields.\n\n"
    "fieldengine train scenes/image.yaml dataset.path=photo.png",
)
plugins_app = typer.Typer(
    no_args_is_help=True, help="What is installed: encodings, activations, fields, hooks, data sets, exporters."
)
app.add_typer(plugins_app, name="plugins")
out_console, err_console = Console(), Console(stderr=True)


def _tell_version(asked: bool) -> None:
    if asked:
        out_console.print(version("fieldengine"), highlight=False)
        raise typer.Exit


@app.callback()
def _whole_program(
    _: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


RunFolderArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a field file (.safetensors).")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes the GPU where there is one.")]
SceneArgument = Annotated[Path, typer.Argument(metavar="SCENE", help="The scene file (.yaml).")]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Keys to change, such as training.steps=500.")
]


@app.command()
def train(
    scene: SceneArgument,
    overrides: OverridesArgument = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<scene>, or the next free number.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    device: DeviceOption = Device.auto,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")] = False,
) -> None:
    """Fit a field to a scene's data and write a run folder."""
    from fieldengine.fitting import train as run_training

    run = run_training(
        scene, overrides or (), out=out, resume=resume, device=device.value, quiet=quiet, console=err_console
    )
    if run.status == "interrupted":
        raise typer.Exit(130)


@app.command()
def sweep(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="The sweep file (.yaml).")],
    profile: Annotated[str | None, typer.Option(help="One of the file's profiles.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<sweep>. What is done there is kept.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that the file's paths are relative to.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Runs at once; they share the cores.")] = 1,
    device: DeviceOption = Device.auto,
) -> None:
    """Train a grid of scenes, whatever of it is missing, and write one table."""
    from fieldengine.sweep.command import run_sweep

    folder, outcomes = run_sweep(
        sweep, profile=profile, out=out, data=data, workers=workers, device=device.value, console=err_console
    )
    out_console.print((folder / "table.md").read_text(encoding="utf-8"), markup=False, highlight=False, soft_wrap=True)
    out_console.print(str(folder), soft_wrap=True, highlight=False)
    failed = [outcome for outcome in outcomes if outcome.status != "done"]
    for outcome in failed:
        _complain(f"{outcome.cell.name} {outcome.status}: {outcome.reason}")
    if failed:
        raise typer.Exit(1)


@app.command()
def suggest(
    scene: SceneArgument,
    overrides: OverridesArgument = None,
    out: Annotated[Path | None, typer.Option(help="Also plot the spectra: .svg, .png or .pdf.")] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Before training, try values of a frequency: whose untrained field has the spectrum nearest to the data's?

    Distances are in cycles per picture.
    """
    from fieldengine.fitting import suggest as make_suggestions

    found = make_suggestions(scene, overrides or (), device=device.value)
    for suggestion in found:
        largest = max(trial.distance for trial in suggestion.trials) or 1.0
        table = Table(suggestion.key, "distance", "", box=None, pad_edge=False)
        for trial in suggestion.trials:
            bar = "█" * max(1, round(30 * trial.distance / largest))
            best = trial is suggestion.best
            table.add_row(f"{trial.value:g}", f"{trial.distance:.2f}", bar, style="bold green" if best else None)
        out_console.print(table)
        out_console.print(f"write {suggestion.key}={suggestion.best.value:g}\n", highlight=False, soft_wrap=True)
    if out is not None:
        from fieldengine.report.spectra import plot_suggestions

        for file in plot_suggestions(found, out):
            out_console.print(str(file), soft_wrap=True, highlight=False)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders to compare.")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
) -> None:
    """Compare runs on one HTML page: scores, learning curves, pictures and their errors, spectra."""
    from fieldengine.report.command import write_report

    write_report(runs, out)
    out_console.print(str(out), soft_wrap=True, highlight=False)


@app.command()
def analyze(
    run: RunFolderArgument,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("analysis.html"),
    device: DeviceOption = Device.auto,
) -> None:
    """Show on one HTML page how a field learns: its tangent kernel and its spectral error at every checkpoint."""
    from fieldengine.report.kernel import write_analysis

    write_analysis(run, out, device.value)
    out_console.print(str(out), soft_wrap=True, highlight=False)


@app.command("eval")
def evaluate(
    run: RunFolderArgument,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A score of pictures, may be repeated; default the run's own."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: DeviceOption = Device.auto,
) -> None:
    """Score a trained field on its data."""
    from fieldengine.run import load

    scores = load(run, device.value).evaluate(split, metric or ())
    if as_json:
        print(json.dumps(scores))  # noqa: T201 - for other programs: no colour, no wrapping
        return
    table = Table("metric", "value", title=str(run))
    for name, value in scores.items():
        table.add_row(name, f"{value:.4f}")
    out_console.print(table)


@app.command()
def render(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option(help="A picture (.png ...) or a video (.mp4); default in the run's images/.")
    ] = None,
    scale: Annotated[float | None, typer.Option(min=0.01, help="Times as many pixels a side.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels, such as 640x480.")] = None,
    path: Annotated[str | None, typer.Option(help="Camera path: orbit, spiral, or a JSON file of poses.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of a video.")] = 60,
    fps: Annotated[int, typer.Option(min=1, max=240, help="Frames per second of a video.")] = 30,
    device: DeviceOption = Device.auto,
) -> None:
    """Render a trained field: a picture, or a video along a camera path."""
    from fieldengine.progress import counting
    from fieldengine.run import load

    loaded = load(run, device.value)
    with counting(err_console, "render") as told:
        file = loaded.render(out, scale=scale, size=_size(size), path=path, frames=frames, fps=fps, told=told)
    out_console.print(str(file), soft_wrap=True, highlight=False)


@app.command()
def export(
    kind: Annotated[
        str, typer.Argument(metavar="mesh|points|field", help="What to write; `plugins list` shows all exporters.")
    ],
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="The file; its ending names the format.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Further options of the exporter, such as points=5000."),
    ] = None,
    resolution: Annotated[int | None, typer.Option(help="Cells along the longest edge of the box.")] = None,
    level: Annotated[float | None, typer.Option(help="Distance or density of the surface.")] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Write a mesh (.ply .obj .stl .glb), a point cloud (.ply .xyz) or the field itself (.safetensors)."""
    from fieldengine.export.command import export_file
    from fieldengine.run import load

    named = {"resolution": resolution, "level": level}
    given = {name: value for name, value in named.items() if value is not None}
    sentence = export_file(load(run, device.value).trained, kind, out, given, overrides or ())
    out_console.print(f"{out}: {sentence}", soft_wrap=True, highlight=False)


@plugins_app.command("list")
def plugins_list() -> None:
    """Every plugin with its kind, name, distribution, version and first line."""
    from fieldengine.registry import Registry

    _list(Registry())


def _list(plugins: Iterable[Plugin]) -> None:
    from fieldengine.errors import PluginError

    table = Table("kind", _whole("name"), "distribution", "version", "what it is", box=None, pad_edge=False)
    for plugin in plugins:
        try:
            line = escape(_first_line(plugin.load()))
        except PluginError as reason:
            line = f"[red]broken:[/] {escape(reason.reason)}"
        table.add_row(plugin.kind, plugin.name, plugin.distribution, plugin.version, line)
    out_console.print(table)


@plugins_app.command("show")
def plugins_show(
    name: Annotated[
        str,
        typer.Argument(
            help="A plugin, such as iga; kind/name where several kinds share a name, as encodings/fourier; a kind, as "
            "hooks, for all of it; or scene, training or another block of a scene for its keys."
        ),
    ],
) -> None:
    """A plugin's paper, keys with defaults and ranges, a snippet, limits; or the keys that every scene has."""
    from fieldengine.registry import KINDS, Registry
    from fieldengine.scene import scene_keys

    if name in KINDS:
        _list(plugin for plugin in Registry() if plugin.kind == name)
        return
    rows = list(scene_keys())
    if name == "scene" or name in (key for key, *_ in rows):
        _print_keys(row for row in rows if name in ("scene", row[0]) or row[0].startswith(f"{name}."))
        return
    for plugin in _named_plugins(Registry(), name):
        _show(plugin)


@app.command()
def doctor() -> None:
    """What this machine offers, and what is broken or missing."""
    from fieldengine.doctor import findings

    table = Table("what", "found", box=None, pad_edge=False)
    for what, found in findings():
        table.add_row(what, found)
    out_console.print(table)


@app.command()
def schema() -> None:
    """The JSON Schema of scene files with the plugins installed here; editors complete and check with it."""
    from fieldengine.registry import Registry
    from fieldengine.scene import scene_schema

    print(json.dumps(scene_schema(Registry()), indent=2))  # noqa: T201 - for other programs


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise FieldEngineError(f'--size "{text}" is not WIDTHxHEIGHT, such as 640x480')
    return int(width), int(height)


def _first_line(cls: type[Any]) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _named_plugins(registry: Any, name: str) -> list[Plugin]:
    from fieldengine.errors import did_you_mean

    kind, _, short = name.rpartition("/")
    found = [plugin for plugin in registry if plugin.name == short and kind in ("", plugin.kind)]
    if not found:
        names = sorted({plugin.name for plugin in registry})
        raise FieldEngineError(f'no plugin "{name}". Installed: {", ".join(names)}.{did_you_mean(short, names)}')
    return found


def _show(plugin: Plugin) -> None:
    import inspect

    from fieldengine.options import described

    cls = plugin.load()
    out_console.print(
        f"[bold]{plugin.kind}/{plugin.name}[/]  ({plugin.distribution} {plugin.version})\n", highlight=False
    )
    text = inspect.cleandoc(cls.__doc__ or "")
    # lines of a paragraph are joined, so that they break where the terminal does; indented ones are lists and formulas
    out_console.print(re.sub(r"(?m)^(\S.*)\n(?=\S)", r"\1 ", text), highlight=False, markup=False)
    out_console.print()
    _print_keys(described(cls))


def _whole(header: str) -> Column:
    """A column of names that somebody will look for: they are not cut."""
    return Column(header, no_wrap=True, overflow="ignore")


def _print_keys(rows: Iterable[tuple[str, str, str, str]]) -> None:
    table = Table(_whole("key"), "type", "default", "what it does", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    out_console.print(table)


def main() -> None:
    """Run the command line and leave with 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    # torch's threads wait for their next piece of work in a loop, and keep our kernels' threads from the same cores
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    debugging = os.environ.get("FIELDENGINE_TRACEBACK") == "1"
    try:
        result = app(arguments, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except typer.Exit as done:
        return done.exit_code
    except FieldEngineError as reason:
        if debugging:
            raise
        _complain(str(reason))
        return reason.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted")
        return 130
    except BrokenPipeError:
        return 0
    except Exception as reason:  # the last line of defence: a bug is ours, and no traceback reaches a user unasked
        if debugging:
            raise
        if hasattr(reason, "show") and hasattr(reason, "exit_code"):  # click's own errors about the command line
            reason.show()  # pyright: ignore[reportAttributeAccessIssue]
            return reason.exit_code  # pyright: ignore[reportAttributeAccessIssue]
        _complain(
            f"{type(reason).__name__}: {reason}\nThis is a bug. Set FIELDENGINE_TRACEBACK=1 to see where, and report it"
        )
        return 1


def _complain(text: str) -> None:
    err_console.print("[bold red]error:[/] ", end="")
    err_console.print(text, markup=False, highlight=False, soft_wrap=True)
