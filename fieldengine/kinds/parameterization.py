"""Parameterizations: how the layers of a network hold their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import described


class Parameterization(Protocol):
    """Options of a parameterization, which is used as it is."""

    def apply(self, layers: Sequence[nn.Module], width: int) -> Sequence[nn.Module]:
        """The layers in order, hidden ones of `width` before the last, linear one -> as many, changed or replaced.

        What `torch.nn.utils.parametrize` puts on a tensor is collapsed in an exported field. May raise ValueError for
        layers it cannot change.
        """
        ...


@runtime_checkable
class MixesRows(Protocol):
    """A module of a field whose value for one point depends, while it trains, on the other points of the step.

    The step is then not cut into tiles. Fields are in training mode where a step back-propagates, else in eval mode.
    """

    mixes_rows: bool


def check_layers(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where what comes back is not as many layers as were given."""
    layers = known["layers"]
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise PluginError(f"expected apply to return {len(layers)} layers, found {described(found)}")
    strange = [layer for layer in found if not isinstance(layer, nn.Module)]
    if len(found) != len(layers) or strange:
        inside = f", among them {described(strange[0])}" if strange else ""
        said = f"expected apply to return {len(layers)} layers, each an nn.Module"
        raise PluginError(f"{said}; found {len(found)}{inside}")


KIND = Kind(
    group="parameterizations",
    word="parameterization",
    options=Parameterization,
    verbs={"apply": Verb(("layers", "width"), ("layers",), check_layers)},
    default="plain",
)
