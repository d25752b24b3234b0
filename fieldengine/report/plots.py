"""Plots: named curves, as matplotlib draws them."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldengine.errors import FieldEngineError
from fieldengine.export.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCHES = (6.4, 3.4)
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: smaller, and it can be searched
    "svg.hashsalt": "fieldengine",  # the same plot is the same file
}
N_COLOURS, DASHES = 10, ("-", "--", ":")  # of matplotlib's cycle
Curve = tuple[Sequence[float], Sequence[float]]


def plot(
    curves: Mapping[str, Curve], *, x: str, y: str, bold: str = "", log: str = "", ordered: bool = False
) -> Figure:
    """A figure of named curves (xs, ys).

    Args:
        x, y: what the axes show, with the unit.
        bold: the name of a curve drawn black and thick, such as the data beside what was tried.
        log: the axes on a logarithmic scale: "x", "y" or "xy".
        ordered: whether the names are steps of one quantity, which then runs through the colours from dark to light.

    Raises FieldEngineError where matplotlib is missing.
    """
    with _styled():
        from matplotlib import colormaps
        from matplotlib.figure import Figure

        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.subplots()
        others = [name for name in curves if name != bold]
        scale = colormaps["viridis"].resampled(max(len(others), 2))
        for name, (xs, ys) in curves.items():
            look: dict[str, Any] = {"linewidth": 1.3}
            if name == bold:
                look = {"linewidth": 2.4, "color": "black", "zorder": 5}
            elif ordered:
                look["color"] = scale(others.index(name))
            else:  # when all colours are used, the next ones are dashed
                look["color"] = f"C{others.index(name)}"
                look["linestyle"] = DASHES[others.index(name) // N_COLOURS % len(DASHES)]
            axes.plot(xs, ys, label=_as_it_is(name), **look)
        axes.set(xlabel=x, ylabel=y, xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
        figure.legend(loc="outside right center", fontsize=8)
        return figure


def _as_it_is(name: str) -> str:
    """A name that matplotlib takes for no formula, and for none to leave out."""
    text = name.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element."""
    stream = io.StringIO()
    with _styled(), warnings.catch_warnings():
        # text stays text, and a browser has letters that matplotlib's own font lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", stream.getvalue(), flags=re.DOTALL)


def save(figure: Figure, out: Path) -> None:
    """Write .svg, .png or .pdf. Raises FieldEngineError for another ending, RunError where it cannot be written."""
    if out.suffix not in (".svg", ".png", ".pdf"):
        raise FieldEngineError(f"{out}: a plot ends in .svg, .png or .pdf")
    with _styled(), atomic(out) as file:
        figure.savefig(file, dpi=150)


@contextmanager
def _styled() -> Iterator[None]:
    try:
        import matplotlib as mpl
    except ImportError as reason:
        raise FieldEngineError("plots need matplotlib: pip install 'fieldengine[report]'") from reason
    with mpl.rc_context(STYLE):
        yield
