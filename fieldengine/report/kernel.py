"""How a field's tangent kernel and its errors look while it learns: what `fieldengine analyze` shows.

K = J Jᵀ (`fieldengine.ntk`) of the values at points. Its eigenvalues are the rates at which their directions are
learnt (Jacot et al. 2018); where they differ by thousands, what lies in the last ones is not learnt at all. A row of K
is how far a gradient step for one point moves all others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fieldengine.errors import RunError
from fieldengine.kinds.field import RadianceField, SurfaceField
from fieldengine.metrics.spectral_error import spectral_error
from fieldengine.ntk import gram, jvp, top_eigenpairs, vjp
from fieldengine.renderers.image import render_image
from fieldengine.report.html import figure, inline_image, refuse_other_endings, save_page, table
from fieldengine.report.plots import Curve, plot, svg
from fieldengine.runs.folder import RunFolder
from fieldengine.runs.load import Run, load
from fieldengine.types import Domain, PixelGrid, Points, View

MOST_POINTS = 256  # of a kernel whose spectrum is shown
AROUND = 16  # pixels on either side of one whose row is shown
LEARNT = 0.99  # of the kernel's trace
OPACITY_LENGTH = 0.01  # of the box's diagonal, through which a radiance field's density is looked at

Values = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Analysis:
    """A field at one step.

    Attributes:
        eigenvalues: of the kernel of points spread over the domain, (m,), largest first.
        rows: K of single pixels with those around them, each (h, w); none where the data form no image.
        error: the spectral error of the first image, (rings,), or None without one.
    """

    step: int
    eigenvalues: Tensor
    rows: list[Tensor]
    error: Tensor | None

    @property
    def n_learnt(self) -> int:
        """How many directions have 99 percent of the kernel's trace."""
        share = self.eigenvalues.cumsum(0) / self.eigenvalues.sum()
        return int((share < LEARNT).sum()) + 1


def write_analysis(run: Path, out: Path, device: str = "auto") -> None:
    """Write a page about the field before it was trained and at every checkpoint that is there.

    Raises FieldEngineError where `out` is no .html file or matplotlib is missing, RunError for no run folder.
    """
    refuse_other_endings(out)
    if not run.is_dir():
        raise RunError(run, "is not a run folder; only a run folder holds the checkpoints of a training")
    steps = [0, *(step for step in RunFolder(run).steps() if step)]
    views = load(run, device).dataset().views("test")
    found = []
    for step in steps:
        opened = load(run, device, step)
        with opened.at_work():
            found.append(analysis(opened, step, views[0] if views else None))
    save_page(out, f"The tangent kernel of {run.name}", list(_page(found)))


def analysis(run: Run, step: int, view: View | None) -> Analysis:
    """Look at one field."""
    field: Any = run.field
    domain, values = run.domain, values_of(field, run.domain)
    eigenvalues = top_eigenpairs(gram(field, values, spread(domain)), MOST_POINTS)[0]
    pixels = domain.grid if domain.is_image else None
    rows = [] if pixels is None else [kernel_row(field, values, pixels, *place) for place in places(pixels)]
    error = None
    if view is not None:
        image = render_image(field, run.trained.renderer, domain, view.grid, background=view.background)
        error = spectral_error(image.values, view.target.cpu().view(image.values.shape))
    return Analysis(step, eigenvalues.cpu(), rows, error)


def values_of(field: Any, domain: Domain) -> Values:
    """What the field says at points (m, d) -> (m, c): its values, its distance, or its opacity over a short length."""
    if isinstance(field, SurfaceField):
        return lambda x: field.sdf(x)[0][:, None]
    if isinstance(field, RadianceField):
        length = OPACITY_LENGTH * domain.aabb.diagonal
        return lambda x: 1.0 - torch.exp(-length * field.density(x)[0])[:, None]
    return field.values


def spread(domain: Domain) -> Tensor:
    """At most 256 points (m, d) spread over the domain: pixels of its image, or a grid in its box."""
    if domain.is_image and domain.grid is not None:
        n = int(MOST_POINTS**0.5)
        small = domain.grid.resized(*(min(n, side) for side in domain.grid.shape))
        return _positions(small, torch.arange(math.prod(small.shape)), domain)
    return domain.aabb.grid(int(MOST_POINTS ** (1 / domain.aabb.dim) + 1e-9))


def places(grid: PixelGrid) -> list[tuple[int, int]]:
    """Row and column of four pixels, one in the middle of each quarter."""
    height, width = grid.shape
    return [(height * i // 4, width * j // 4) for i, j in itertools.product((1, 3), repeat=2)]


def kernel_row(field: Any, values: Values, grid: PixelGrid, row: int, column: int) -> Tensor:
    """K of a pixel with those at most 16 rows and columns away, (h, w), of the mean over channels."""
    device, (height, width) = next(field.parameters()).device, grid.shape
    rows = torch.arange(max(0, row - AROUND), min(height, row + AROUND + 1), device=device)
    columns = torch.arange(max(0, column - AROUND), min(width, column + AROUND + 1), device=device)
    items = grid.items((rows[:, None] * width + columns).flatten())
    own = grid.items(torch.tensor([row * width + column], device=device))
    assert isinstance(items, Points)
    assert isinstance(own, Points)
    with torch.no_grad():
        mean = torch.ones_like(values(own.positions))
    mean /= mean.numel()
    direction = vjp(field, values, own.positions, mean)
    return jvp(field, values, items.positions, direction).mean(dim=-1).view(len(rows), len(columns)).cpu()


def _positions(grid: PixelGrid, pixels: Tensor, domain: Domain) -> Tensor:
    items = grid.items(pixels.to(domain.aabb.lower.device))
    assert isinstance(items, Points)
    return items.positions


def _page(found: list[Analysis]) -> list[str]:
    heads = ["step", "largest eigenvalue", f"directions with {LEARNT:.0%} of the trace", "of"]
    lines = [[f"{a.step}", f"{a.eigenvalues[0]:.4g}", f"{a.n_learnt}", f"{len(a.eigenvalues)}"] for a in found]
    body = [table(heads, lines)]
    if len(found) < 4:
        body.append(
            '<p class="note">The field before training and at the checkpoints that were kept; '
            "train with training.keep_checkpoints: all for more.</p>"
        )
    spectra: dict[str, Curve] = {}
    for one in found:
        positive = (one.eigenvalues / one.eigenvalues[0]).clamp(min=1e-9)  # float32 tells no smaller ones from rounding
        spectra[f"step {one.step}"] = (list(range(1, len(positive) + 1)), positive.tolist())
    body += [
        "<h2>Spectrum of the kernel</h2>",
        "<p>Eigenvalues over the largest, of points spread over the domain. What lies in a direction is learnt at a "
        "rate in proportion to its eigenvalue.</p>",
        svg(plot(spectra, x="number", y="eigenvalue over the largest", log="xy", ordered=True)),
    ]
    if found[0].rows:
        body += [
            "<h2>Rows of the kernel</h2>",
            "<p>How far a step for the pixel in the middle moves those around it: red with it, blue against it, as a "
            "share of how far it moves itself. One pixel in each quarter of the image.</p>",
            '<div class="images">',
            *(figure(f"step {one.step}", [inline_image(_signed(row)) for row in one.rows]) for one in found),
            "</div>",
        ]
    errors = {f"step {a.step}": _rings(a.error) for a in found if a.error is not None}
    if errors:
        body += [
            "<h2>Spectral error</h2>",
            "<p>|F[f] - F[f_theta]| / |F[f]| by ring of frequency: 0 is exact, 1 as good as nothing there.</p>",
            svg(plot(errors, x="cycles over the shorter side", y="relative spectral error", log="xy", ordered=True)),
        ]
    return body


def _rings(error: Tensor) -> Curve:
    return list(range(1, len(error))), error[1:].tolist()


def _signed(row: Tensor) -> Tensor:
    """(h, w) -> (h, w, 3): white for 0, red for the largest size, blue for as much below 0."""
    share = (row / row.abs().max().clamp(min=torch.finfo(row.dtype).tiny)).clamp(-1, 1)
    return torch.stack([1 + share.clamp(max=0), 1 - share.abs(), 1 - share.clamp(min=0)], dim=-1)
