"""One HTML file that compares runs: their scores, how they learnt, what they look like and where they are wrong."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fieldengine.rendering.picture import render_picture
from fieldengine.report.html import figure, image, save_page, table
from fieldengine.report.plots import Curve, plot, svg
from fieldengine.run import load
from fieldengine.training.picture_scores import spectral_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAINTEST_WHITE = 0.02  # error that is drawn white at the least, so that what nobody sees stays black


@dataclass(frozen=True)
class Entry:
    """One side of a comparison: the run folders that count together, such as seeds; the first is the one shown."""

    label: str
    runs: Sequence[Path]


@dataclass(frozen=True)
class Seen:
    """A run's picture and its target (h, w, c), and what it is a picture of."""

    values: Tensor
    target: Tensor
    name: str

    @property
    def error(self) -> Tensor:
        """Mean over channels of the absolute error of what a screen shows, (h, w)."""
        return (self.values.clamp(0, 1) - self.target).abs().mean(dim=-1)


def write_page(
    out: Path,
    title: str,
    entries: Sequence[Entry],
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
) -> None:
    """Write the page. The table is given; plots and pictures are made from the runs, those that have any.

    Raises FieldEngineError where matplotlib is missing, RunError where a run cannot be opened.
    """
    body = [table(heads, rows), *(f'<p class="note">{html.escape(note)}</p>' for note in notes)]
    learning, axis = learning_of(entries)
    if learning:
        body += ["<h2>Learning</h2>", svg(plot(learning, x="step", y=axis))]
    seen = {entry.label: picture for entry in entries if entry.runs and (picture := _seen(entry.runs[0]))}
    if seen:
        body += ["<h2>Pictures and errors</h2>", _pictures(seen)]
        body += [
            "<h2>Spectral error</h2>",
            "<p>|F[f] - F[f_theta]| / |F[f]| by ring of frequency: 0 is exact, 1 as good as nothing there.</p>",
            svg(_spectra(seen)),
        ]
    save_page(out, title, body)


def learning_of(entries: Sequence[Entry]) -> tuple[dict[str, Curve], str]:
    """The entries' curves, and what they show: scores where all were evaluated on the way, or what each step saw.

    What a step sees is not comparable where samplers choose it.
    """
    scores, steps = (
        {entry.label: curve for entry in entries if (curve := learning_curve(entry.runs, metric))}
        for metric in ("psnr", "psnr_batch")
    )
    if scores.keys() == steps.keys() and all(len(curve[0]) > 1 for curve in scores.values()):
        return scores, "PSNR, dB"
    return steps, "PSNR of the step's items, dB"


def learning_curve(runs: Sequence[Path], metric: str) -> Curve | None:
    """Steps and values of a metric, the mean over the runs that logged the step; None where nothing was logged."""
    values: dict[int, list[float]] = {}
    for run in runs:
        path = run / "metrics.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            found = json.loads(line)
            if metric in found:
                values.setdefault(found["step"], []).append(found[metric])
    steps = sorted(values)
    return (steps, [mean(values[step]) for step in steps]) if steps else None


def _seen(path: Path) -> Seen | None:
    """The first picture of a run's data as its field shows it; None for data without pictures."""
    run = load(path)
    views = run.dataset().views("test")
    if not views:
        return None
    view = views[0]
    picture = render_picture(run.field, run.trained.renderer, run.domain, view.sensor, background=view.background)
    return Seen(picture.values, view.target.cpu().view(picture.values.shape), view.name)


def _pictures(seen: dict[str, Seen]) -> str:
    """The targets, then each picture beside its error, all errors on one scale."""
    # that of the middle picture: the worst one's scale would leave all others black
    white = max(FAINTEST_WHITE, median(float(picture.error.quantile(0.99)) for picture in seen.values()))
    figures = []
    targets: list[Tensor] = []
    for label, picture in seen.items():
        if not any(torch.equal(picture.target, target) for target in targets):
            targets.append(picture.target)
            figures.append(figure(f"target: {picture.name}", [image(picture.target)]))
        error = (picture.error / white).clamp(0, 1)[..., None]
        figures.append(figure(label, [image(picture.values), image(error)]))
    scale = f"<p>Beside each picture its absolute error, black for none, white from {white:.2g} on.</p>"
    return scale + f'<div class="pictures">{"".join(figures)}</div>'


def _spectra(seen: dict[str, Seen]) -> Figure:
    curves: dict[str, Curve] = {}
    for label, picture in seen.items():
        error = spectral_error(picture.values, picture.target)[1:]
        curves[label] = (list(range(1, len(error) + 1)), error.tolist())
    return plot(curves, x="cycles over the shorter side", y="relative spectral error", log="xy")
