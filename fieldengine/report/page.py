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

from fieldengine.metrics.spectral_error import spectral_error
from fieldengine.renderers.image import render_image
from fieldengine.report.html import figure, inline_image, save_page, table
from fieldengine.report.plots import Curve, plot, svg
from fieldengine.runs.load import load

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
    """A run's image and its target (h, w, c), and what it is an image of."""

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
    """Write the page. The table is given; plots and images are made from the runs, those that have any.

    Raises FieldEngineError where matplotlib is missing, RunError where a run cannot be opened.
    """
    body = [table(heads, rows), *(f'<p class="note">{html.escape(note)}</p>' for note in notes)]
    learning, axis = learning_of(entries)
    if learning:
        body += ["<h2>Learning</h2>", svg(plot(learning, x="step", y=axis))]
    seen = {entry.label: image for entry in entries if entry.runs and (image := _seen(entry.runs[0]))}
    if seen:
        body += ["<h2>Images and errors</h2>", _images(seen)]
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
    """The first image of a run's data as its field shows it; None for data without images."""
    run = load(path)
    views = run.dataset().views("test")
    if not views:
        return None
    view = views[0]
    with run.at_work():
        image = render_image(run.field, run.trained.renderer, run.domain, view.grid, background=view.background)
    return Seen(image.values, view.target.cpu().view(image.values.shape), view.name)


def _images(seen: dict[str, Seen]) -> str:
    """The targets, then each image beside its error, all errors on one scale."""
    # that of the middle image: the worst one's scale would leave all others black
    white = max(FAINTEST_WHITE, median(float(image.error.quantile(0.99)) for image in seen.values()))
    figures = []
    targets: list[Tensor] = []
    for label, image in seen.items():
        if not any(torch.equal(image.target, target) for target in targets):
            targets.append(image.target)
            figures.append(figure(f"target: {image.name}", [inline_image(image.target)]))
        error = (image.error / white).clamp(0, 1)[..., None]
        figures.append(figure(label, [inline_image(image.values), inline_image(error)]))
    scale = f"<p>Beside each image its absolute error, black for none, white from {white:.2g} on.</p>"
    return scale + f'<div class="images">{"".join(figures)}</div>'


def _spectra(seen: dict[str, Seen]) -> Figure:
    curves: dict[str, Curve] = {}
    for label, image in seen.items():
        error = spectral_error(image.values, image.target)[1:]
        curves[label] = (list(range(1, len(error) + 1)), error.tolist())
    return plot(curves, x="cycles over the shorter side", y="relative spectral error", log="xy")
