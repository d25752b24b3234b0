"""Fields: what is fitted. A field offers values, or density and colour, or a signed distance."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import carries_gradient, described, is_module, on_trial, takes
from fieldengine.types import Aabb


class FieldOptions(Protocol):
    """Options of a field.

    `build` may name in_dim, out_dim, aabb, and n_cameras, the number of training images that have a camera, 0 where
    data has none. It returns a module that makes one of the three offers below.
    """

    def build(self, *, in_dim: int, out_dim: int, aabb: Aabb) -> Any: ...


@runtime_checkable
class SignalField(Protocol):
    """Answers at points."""

    def values(self, x: Tensor) -> Tensor:
        """(m, d) in own coordinates -> (m, c)."""
        ...


@runtime_checkable
class RadianceField(Protocol):
    """Emits and absorbs light.

    `rgb` may also name `camera_indices` (m,) int64, the training image that each sample is seen from, or None where it
    is seen from none of them: an appearance may then differ from image to image.
    """

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(m, 3) -> sigma (m,) >= 0 per unit of length, features (m, f)."""
        ...

    def rgb(self, features: Tensor, viewdirs: Tensor, normals: Tensor | None = None) -> Tensor:
        """Features (m, f), unit directions (m, 3) -> colour (m, 3) in [0, 1]."""
        ...


@runtime_checkable
class SurfaceField(Protocol):
    """Knows the distance to a surface."""

    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(m, 3) -> signed distance (m,) in own units, inside < 0; features (m, f)."""
        ...


@runtime_checkable
class Advancing(Protocol):
    """A module of a field that changes while it trains, such as an encoding whose levels come in one by one.

    What it changes must be in buffers, so that it is saved with the field.
    """

    def advance(self, done: float) -> None:
        """Called before each step with the share of the steps that are done, 0 <= done < 1."""
        ...


@runtime_checkable
class GradientsByRow(Protocol):
    """A module whose own parameters are not just those of linear maps, and that knows what each row adds to them.

    `fieldengine.ntk.gram` asks it; of modules that do not offer this it finds out by itself, many times slower.
    """

    def gradients_by_row(self, x: Tensor, g: Tensor) -> Sequence[Tensor | tuple[Tensor, Tensor]]:
        """Of each row i the gradient of <forward(x)_i, g_i> in the module's own parameters, its submodules' left out.

        Args:
            x: (m, ...), what the module was called with.
            g: (m, ...), cotangents of what it returned.

        Returns:
            Blocks of parameters, in any order and layout: (m, q), or sparse (m, q, ...); or a pair a (m, p), d (m, q)
            of which the gradient is the outer product d_i a_i^H, complex where two parameters are the parts of a
            number.
        """
        ...


FURTHER = {"advance": ("done",), "gradients_by_row": ("x", "g")}  # what any module of a field may offer


def colour(field: RadianceField, features: Tensor, viewdirs: Tensor, camera_indices: Tensor | None = None) -> Tensor:
    """`field.rgb`, told the training image of each sample where it asks for that."""
    rgb: Callable[..., Tensor] = field.rgb
    if _asks_for_cameras(getattr(rgb, "__func__", rgb)):
        return rgb(features, viewdirs, camera_indices=camera_indices)
    return rgb(features, viewdirs)


@functools.lru_cache(maxsize=64)
def _asks_for_cameras(rgb: Callable[..., Tensor]) -> bool:
    return "camera_indices" in inspect.signature(rgb).parameters


def check_field(found: Any, known: Mapping[str, Any]) -> None:
    """Raise PluginError where a field makes none of the three offers, or does not keep one that it makes."""
    is_module(found, "build", "a field")
    offers = [offer for offer in (SignalField, RadianceField, SurfaceField) if isinstance(found, offer)]
    if not offers:
        raise PluginError(f"{type(found).__name__} has none of values(x), density(x) with rgb(...), and sdf(x)")
    field: Any = found
    if not any(parameter.requires_grad for parameter in field.parameters()):
        raise PluginError(f"{type(found).__name__} has no parameters, so that there is nothing to train")
    for module in field.modules():
        for name, arguments in FURTHER.items():
            if callable(getattr(module, name, None)):
                takes(getattr(module, name), f"{type(module).__name__}.{name}", arguments)
    aabb, out_dim = known["aabb"], known["out_dim"]
    inside = torch.linspace(-0.9, 0.9, 3 * aabb.dim, device=aabb.lower.device).view(3, aabb.dim)
    x = aabb.from_unit(inside).cpu()
    answers = []
    if SignalField in offers:
        answers.append(_expect("values(x)", on_trial(field, lambda: field.values(x)), (3, out_dim)))
    if SurfaceField in offers:
        distance, _ = _pair("sdf(x)", on_trial(field, lambda: field.sdf(x)))
        answers.append(_expect("sdf(x)", distance, (3,)))
    if RadianceField in offers:
        density, features = _pair("density(x)", on_trial(field, lambda: field.density(x)))
        answers.append(_expect("density(x)", density, (3,)))
        ahead = torch.nn.functional.normalize(torch.ones(3, 3), dim=-1)
        takes(field.rgb, f"{type(field).__name__}.rgb", ("features", "viewdirs"))
        answers.append(
            _expect("rgb(features, viewdirs)", on_trial(field, lambda: colour(field, features, ahead)), (3, 3))
        )
    carries_gradient(found, *answers)


def _pair(name: str, found: Any) -> tuple[Any, Tensor]:
    """What a field answers, and the features that come with it."""
    if not isinstance(found, tuple) or len(found) != 2:
        said = f"expected {name} to return a pair, the second of it features (3, f)"
        raise PluginError(f"{said}; found {described(found)}")
    answer, features = found
    _expect(f"the features of {name}", features, (3, features.shape[-1] if isinstance(features, Tensor) else 0))
    return answer, features


def _expect(name: str, found: Any, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(found, Tensor) or found.shape != shape or found.dtype != torch.float32:
        raise PluginError(f"expected {name} to return float32 of shape {shape} for 3 places; found {described(found)}")
    return found


KIND = Kind(
    group="fields",
    word="field",
    options=FieldOptions,
    verbs={"build": Verb(("in_dim", "out_dim", "aabb", "n_cameras"), (), check_field)},
)
