"""The command line program: shared options, consoles and error handling."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import warnings
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fieldengine.errors import FieldEngineError
from fieldengine.runs.process import interruption

INTERRUPTED = 130  # what shells return for Ctrl-C

app = typer.Typer(
    name="fieldengine",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Neural fields from one scene file: images, signed distances, radiance fields.\n\n"
    "fieldengine train scenes/image.yaml dataset.path=photo.png",
)
out_console, err_console = Console(), Console(stderr=True)


def _tell_version(asked: bool) -> None:
    if asked:
        out_console.print(version("fieldengine"), highlight=False)
        raise typer.Exit


@app.callback()
def _whole_program(
    _: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


RunFolderArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a field file (.safetensors).")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto uses the GPU if there is one.")]
SceneArgument = Annotated[Path, typer.Argument(metavar="SCENE", help="The scene file (.yaml).")]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Keys to change, such as training.steps=500.")
]


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 invalid input, 130 interrupted."""
    # torch's idle threads spin, which keeps the cores from our kernels' threads
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # letters that the terminal does not have are shown as question marks
            stream.reconfigure(errors="replace")
    with interruption() as interrupted, warnings.catch_warnings():
        interrupted.patient = False
        warnings.showwarning = lambda message, *_: warn(str(message))
        code = _run(sys.argv[1:])
    if code == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end has begun
        if interrupted():  # and not a training, which says more
            complain("interrupted")
    sys.exit(code)


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
        complain(str(reason))
        return reason.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except OSError as reason:
        if reason.errno != errno.ENAMETOOLONG or debugging:
            raise
        complain(f"{reason.filename}: {reason.strerror}. Choose a shorter name")
        return 2
    except Exception as reason:  # last resort: the bug is ours, and users see a traceback only if they ask for it
        if debugging:
            raise
        if hasattr(reason, "show") and hasattr(reason, "exit_code"):  # click's own errors about the command line
            reason.show()  # pyright: ignore[reportAttributeAccessIssue]
            return reason.exit_code  # pyright: ignore[reportAttributeAccessIssue]
        complain(
            f"{type(reason).__name__}: {reason}\nThis is a bug. Set FIELDENGINE_TRACEBACK=1 to see where, and report it"
        )
        return 1


def say(text: str) -> None:
    """Print a line of results as it is: paths may hold what rich would take for markup."""
    out_console.print(text, markup=False, highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a sentence that the user should know of."""
    err_console.print("[yellow]warning:[/] ", end="")
    err_console.print(text, markup=False, highlight=False, soft_wrap=True)


def complain(text: str) -> None:
    err_console.print("[bold red]error:[/] ", end="")
    err_console.print(text, markup=False, highlight=False, soft_wrap=True)
