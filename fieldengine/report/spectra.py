"""What candidates were tried, as curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fieldengine.report.plots import plot, save
from fieldengine.runs.suggest import Suggestion


def plot_suggestions(suggestions: Sequence[Suggestion], out: Path) -> list[Path]:
    """One plot a key of the data's spectrum and the candidates'; further keys get their name into the file's."""
    files = []
    for suggestion in suggestions:
        name = suggestion.key.rpartition(".")[2]
        cycles = list(range(1, len(suggestion.target) + 1))
        curves = {"the data": (cycles, suggestion.target.tolist())}
        for trial in suggestion.trials:
            mark = " *" if trial is suggestion.best else ""
            curves[f"{name} {trial.value:g}{mark}"] = (cycles, trial.spectrum.tolist())
        figure = plot(
            curves, x="cycles over the shorter side", y="share of magnitude", bold="the data", log="xy", ordered=True
        )
        file = out if suggestion is suggestions[0] else out.with_stem(f"{out.stem}-{suggestion.key}")
        save(figure, file)
        files.append(file)
    return files
