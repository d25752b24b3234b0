"""Data sets: numbered items to learn from, and what a trained field is compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Generator, Tensor

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import described, has_methods, is_count
from fieldengine.types import Batch, Domain, Points, Rays, RunContext, View


class DatasetOptions(Protocol):
    """Options of a data set. `build` may name context; it reads the files and returns a Dataset.

    Attributes:
        default_field, default_renderer: plugins that suit the data, taken where a scene names none.

    May also name `default_metrics`, a tuple of the metrics that are computed where a scene names none; and `presenter`,
    a `Presenter` of its signal. Without one a signal is presented as an image.
    """

    default_field: ClassVar[str]
    default_renderer: ClassVar[str]

    def build(self, context: RunContext) -> Dataset: ...


class Presenter(Protocol):
    """How a signal is written to a file, such as a sound. A run finds it again by the name of its data set."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files it writes, the usual one first."""
        ...

    def write(self, values: Tensor, out: Path) -> None:
        """Values (*shape, c) of a field -> the file. Raises RunError where they cannot be written so."""
        ...


class ReferenceSurface(Protocol):
    """A closed surface to compare a fitted one with."""

    def inside(self, x: Tensor) -> Tensor:
        """(m, 3) -> (m,) bool."""
        ...

    def closest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(m, 3) -> distance to the surface (m,) and the surface's normal at the closest point (m, 3)."""
        ...

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """n points of the surface and their outward normals, each (n, 3)."""
        ...


class Dataset(Protocol):
    """Data in memory: numbered items to learn from, images and surfaces to compare with.

    One that is an nn.Module may own parameters, such as corrections of its poses. They are trained and checkpointed
    with the field; items and backgrounds that depend on them carry their gradient.

    Attributes:
        splits: names of the splits that were held apart; empty where every split is all of the data.
        surface: what a fitted surface is compared with, or None.

    May also have `files`, the paths that it was read from: a run then knows them by their digests, and is not resumed
    or scored where they have changed.
    """

    domain: Domain
    n_items: int
    splits: Sequence[str]
    surface: ReferenceSurface | None

    def batch(self, indices: Tensor, generator: Generator) -> Batch:
        """The items of these numbers (n,).

        The generator serves what differs from step to step, such as a background. It lives on the run's device:
        `torch.rand(n, generator=generator, device=generator.device)`.
        """
        ...

    def views(self, split: str) -> Sequence[View]:
        """The images, or signals of other dimensions, of a split; empty where it has none."""
        ...

    def notes(self) -> Sequence[str]:
        """Warnings about what was found in the files, one sentence each."""
        ...


def check_options(cls: type[Any]) -> None:
    names = getattr(cls, "default_metrics", ())
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise PluginError(f"expected default_metrics, a tuple of names of metrics; found {names!r}")


def check_dataset(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where what was built is no data set, or its first batch does not fit together."""
    has_methods(found, "a data set", batch=("indices", "generator"), views=("split",), notes=())
    missing = [name for name in ("domain", "n_items", "splits", "surface") if not hasattr(found, name)]
    if missing:
        raise PluginError(f"{type(found).__name__} has no {' and no '.join(missing)}, which a data set needs")
    check_domain(found.domain)
    if not is_count(found.n_items):
        raise PluginError(f"expected n_items, how many there are, at least 1; found {found.n_items!r}")
    for name, texts in (("splits", found.splits), ("notes()", found.notes())):
        if not isinstance(texts, tuple | list) or not all(isinstance(text, str) for text in texts):
            raise PluginError(f"expected {name} to be a sequence of texts, found {texts!r}")
    files = files_of(found)
    if not isinstance(files, tuple | list) or not all(isinstance(file, Path) and file.is_file() for file in files):
        raise PluginError(f"expected files to be a sequence of the paths of files, found {files!r}")
    if found.surface is not None:
        has_methods(found.surface, "a reference surface", inside=("x",), closest=("x",), sample=("n", "seed"))
    context: RunContext = known["context"]
    # what it draws for this item stays drawn: the seeds of published figures began so
    batch = found.batch(torch.zeros(1, dtype=torch.int64, device=context.device), context.device_generator)
    check_batch(batch, 1, found.domain)


def files_of(dataset: Dataset) -> Sequence[Path]:
    """The files that a data set says it was read from."""
    return getattr(dataset, "files", ())


def check_domain(domain: Any) -> None:
    """Raise PluginError where a domain has no box, or nothing to be fitted in it."""
    if not isinstance(domain, Domain):
        raise PluginError(f"expected a Domain as domain, found {described(domain)}")
    for name, corner in (("lower", domain.aabb.lower), ("upper", domain.aabb.upper)):
        if not isinstance(corner, Tensor) or corner.ndim != 1 or corner.dtype != torch.float32:
            raise PluginError(f"expected float32 of shape (d,) as domain.aabb.{name}, found {described(corner)}")
    if len(domain.aabb.lower) != len(domain.aabb.upper) or not bool((domain.aabb.size > 0).all()):
        corners = f"{domain.aabb.lower.tolist()} to {domain.aabb.upper.tolist()}"
        raise PluginError(f"expected a box of positive size on each axis, found {corners}")
    if not is_count(domain.out_dim):
        raise PluginError(f"expected domain.out_dim, the channels of a value, at least 1; found {domain.out_dim!r}")


def check_batch(batch: Any, n: int, domain: Domain, dtype: torch.dtype = torch.float32) -> None:
    """Raise PluginError where a batch of n items is not one of points or rays with a target each, of this dtype."""
    if not isinstance(batch, Batch):
        raise PluginError(f"expected batch(indices, generator) to return a Batch, found {described(batch)}")
    if not isinstance(batch.items, Points | Rays):
        raise PluginError(f"expected Points or Rays as the batch's items, found {described(batch.items)}")
    of_items = {f"items.{name}": value for name, value in vars(batch.items).items() if name != "camera_indices"}
    background = {} if batch.background is None else {"background": batch.background}
    for name, value in {**of_items, "targets": batch.targets, **background}.items():
        if not isinstance(value, Tensor) or value.ndim != 2 or len(value) != n or value.dtype != dtype:
            expected = str(dtype).removeprefix("torch.")
            raise PluginError(
                f"expected {name} of {n} items to be {expected} of shape ({n}, ...), found {described(value)}"
            )
        if name in of_items and value.shape[1] != domain.aabb.dim:
            raise PluginError(
                f"expected {name} of {domain.aabb.dim} dimensions, as the domain's box has, found {described(value)}"
            )
    numbers = {"indices": batch.indices, "items.camera_indices": getattr(batch.items, "camera_indices", None)}
    for name, value in numbers.items():
        if name == "items.camera_indices" and value is None:
            continue
        if not isinstance(value, Tensor) or value.shape != (n,) or value.dtype != torch.int64:
            raise PluginError(f"expected {name} of {n} items to be int64 of shape ({n},), found {described(value)}")


def check_views(views: Any, domain: Domain) -> None:
    """Raise PluginError where a split has no sequence of views, or a target does not fit its pixels."""
    if not isinstance(views, Sequence):
        raise PluginError(f"expected views(split) to return a sequence, found {described(views)}")
    for view in views:
        if not isinstance(view, View):
            raise PluginError(f"expected views(split) to hold Views, found {described(view)}")
        n, background = math.prod(view.grid.shape), view.background
        if not isinstance(view.target, Tensor) or view.target.shape != (n, domain.out_dim):
            size = "x".join(map(str, view.grid.shape))
            raise PluginError(
                f'expected the target of view "{view.name}", {size} pixels, to have shape ({n}, {domain.out_dim}); '
                f"found {described(view.target)}"
            )
        if background is not None and (not isinstance(background, Tensor) or background.shape != (domain.out_dim,)):
            raise PluginError(
                f'expected the background of view "{view.name}" to be None or of shape ({domain.out_dim},); '
                f"found {described(background)}"
            )
        if view.hidden is not None and (view.hidden.shape != (n,) or view.hidden.dtype != torch.bool):
            raise PluginError(
                f'expected the hidden pixels of view "{view.name}" to be bool of shape ({n},); '
                f"found {described(view.hidden)}"
            )


KIND = Kind(
    group="datasets",
    word="dataset",
    options=DatasetOptions,
    verbs={"build": Verb(("context",), (), check_dataset)},
    constants={"default_field": str, "default_renderer": str},
    check_class=check_options,
)
