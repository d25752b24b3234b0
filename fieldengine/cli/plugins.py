"""`fieldengine plugins`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from fieldengine.cli.app import app, out_console
from fieldengine.errors import FieldEngineError

if TYPE_CHECKING:
    from fieldengine.plugins.registry import Plugin

plugins_app = typer.Typer(no_args_is_help=True, help="Installed plugins of every kind, and their keys.")
app.add_typer(plugins_app, name="plugins")


@plugins_app.command("list")
def plugins_list() -> None:
    """List every plugin with its kind, name, distribution, version and first line."""
    from fieldengine.plugins.registry import Registry

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
            help="A plugin, such as iga; kind/name if several kinds share a name, as encodings/fourier; a kind, such "
            "as hooks, to list it; or scene, training or another block of a scene for its keys."
        ),
    ],
) -> None:
    """Show a plugin's paper, keys with defaults and ranges, a snippet and limits; or the keys of every scene."""
    from fieldengine.config.scene import scene_keys
    from fieldengine.plugins.registry import KINDS, Registry

    if name in KINDS:
        _list(plugin for plugin in Registry() if plugin.kind == name)
        return
    rows = list(scene_keys())
    if name == "scene" or name in (key for key, *_ in rows):
        _print_keys(row for row in rows if name in ("scene", row[0]) or row[0].startswith(f"{name}."))
        return
    for plugin in _named_plugins(Registry(), name):
        _show(plugin)


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

    from fieldengine.config.describe import described

    cls = plugin.load()
    out_console.print(
        f"[bold]{plugin.kind}/{plugin.name}[/]  ({plugin.distribution} {plugin.version})\n", highlight=False
    )
    text = inspect.cleandoc(cls.__doc__ or "")
    # join the lines of a paragraph, so that the terminal wraps them; indented lines are lists and formulas
    out_console.print(re.sub(r"(?m)^(\S.*)\n(?=\S)", r"\1 ", text), highlight=False, markup=False)
    out_console.print()
    _print_keys(described(cls))


def _whole(header: str) -> Column:
    """A column of names, which are never truncated."""
    return Column(header, no_wrap=True, overflow="ignore")


def _print_keys(rows: Iterable[tuple[str, str, str, str]]) -> None:
    table = Table(_whole("key"), "type", "default", "what it does", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    out_console.print(table)
