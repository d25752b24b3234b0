"""Data sets: numbered items to learn from, and what a trained field is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Generator, Tensor

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import described, has_methods
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


def check_dataset(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where what was built is no data set, or its first batch does not fit together."""
    has_methods(found, "a data set", "batch", "views", "notes")
    missing = [name for name in ("domain", "n_items", "splits", "surface") if not hasattr(found, name)]
    if missing:
        raise PluginError(f"{type(found).__name__} has no {' and no '.join(missing)}, which a data set needs")
    if not isinstance(found.domain, Domain):
        raise PluginError(f"expected a Domain as {type(found).__name__}.domain, found {described(found.domain)}")
    if not isinstance(found.n_items, int) or found.n_items < 1:
        raise PluginError(f"expected n_items, how many there are, at least 1; found {found.n_items!r}")
    context: RunContext = known["context"]
    # what it draws for this item stays drawn: the seeds of published figures began so
    batch = found.batch(torch.zeros(1, dtype=torch.int64, device=context.device), context.device_generator)
    check_batch(batch, 1, found.domain)


def check_batch(batch: Any, n: int, domain: Domain) -> None:
    """Raise PluginError where a batch of n items is not one of points or rays with a target each."""
    if not isinstance(batch, Batch):
        raise PluginError(f"expected a Batch of batch(indices, generator), found {described(batch)}")
    if not isinstance(batch.items, Points | Rays):
        raise PluginError(f"expected Points or Rays as the batch's items, found {described(batch.items)}")
    if len(batch.items) != n or not isinstance(batch.targets, Tensor) or batch.targets.ndim != 2 or len(batch) != n:
        raise PluginError(
            f"expected {n} items with targets ({n}, c) for {n} indices; found {len(batch.items)} items and targets "
            f"{described(batch.targets)}"
        )
    positions = batch.items.positions if isinstance(batch.items, Points) else batch.items.origins
    if positions.shape[1] != domain.aabb.dim:
        raise PluginError(
            f"expected items of the {domain.aabb.dim} dimensions that the domain's box has, found {positions.shape[1]}"
        )
    for name, tensor in (("items", positions), ("targets", batch.targets)):
        if tensor.dtype != torch.float32:
            raise PluginError(f"expected float32 {name}, found {described(tensor)}")


KIND = Kind(
    group="datasets",
    word="dataset",
    options=DatasetOptions,
    verbs={"build": Verb(("context",), (), check_dataset)},
    constants={"default_field": str, "default_renderer": str},
)
