"""Camera models: how places in front of a camera and places on its image plane belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from fieldengine.errors import PluginError
from fieldengine.kinds.kind import Kind, Verb
from fieldengine.kinds.probe import described, is_count


class CameraModel(Protocol):
    """A camera model, which is used as it is and has no keys.

    Places in front of the camera are in its own axes as OpenCV has them: x right, y down, z forward. Those on the image
    plane are (pixel - centre) / focal length, x right, y down. Each row of `parameters` (m, n_parameters) holds the
    lens of the camera that a place belongs to.
    """

    n_parameters: ClassVar[int]

    def project(self, points: Tensor, parameters: Tensor) -> Tensor:
        """(m, 3) in front of the camera -> (m, 2) on the image plane. Carries gradient."""
        ...

    def unproject(self, plane: Tensor, parameters: Tensor) -> tuple[Tensor | None, Tensor]:
        """(m, 2) on the image plane -> where its rays begin (m, 3), None for the camera's centre, and their directions
        (m, 3), of any length.

        NaN where no direction has that place, as beyond the edge of a lens. Carries gradient to the parameters.
        """
        ...


def check_round_trip(model: Any, tolerance: float = 1e-4) -> None:
    """Raise PluginError where a model without distortion does not bring places on the plane back to where they were."""
    plane = torch.tensor([[0.0, 0.0], [0.3, -0.2], [-0.4, 0.1]])
    parameters = torch.zeros(3, model.n_parameters)
    found = model.unproject(plane, parameters)
    check_unprojected(found, {"plane": plane})
    origins, directions = found
    origins = torch.zeros(3, 3) if origins is None else origins
    back = model.project(origins + 2.0 * directions, parameters)
    if not isinstance(back, Tensor) or back.shape != (3, 2):
        raise PluginError(f"expected project to return shape (3, 2), found {described(back)}")
    off = float((back - plane).abs().max())
    if not off < tolerance:
        raise PluginError(f"expected project(unproject(x)) to be x without distortion; it is off by {off:.3g}")


def check_model(cls: type[Any]) -> None:
    if not is_count(cls.n_parameters, least=0):
        raise PluginError(f"expected n_parameters, a whole number of them; found {cls.n_parameters!r}")


def check_projected(found: Any, known: Mapping[str, Any]) -> None:
    points = known["points"]
    if not isinstance(found, Tensor) or found.shape != (len(points), 2):
        raise PluginError(f"expected project to return shape ({len(points)}, 2), found {described(found)}")


def check_unprojected(found: Any, known: Mapping[str, Any]) -> None:
    shape = (len(known["plane"]), 3)
    if not isinstance(found, tuple) or len(found) != 2:
        raise PluginError(f"expected unproject to return a pair, origins and directions; found {described(found)}")
    for name, part in zip(("origins", "directions"), found, strict=True):
        if part is None and name == "origins":
            continue
        if not isinstance(part, Tensor) or part.shape != shape:
            raise PluginError(f"expected unproject to return {name} {shape}, found {described(part)}")


KIND = Kind(
    group="cameras",
    word="camera model",
    options=CameraModel,
    verbs={
        "project": Verb(("points", "parameters"), ("points", "parameters"), check_projected),
        "unproject": Verb(("plane", "parameters"), ("plane", "parameters"), check_unprojected),
    },
    constants={"n_parameters": int},
    check_class=check_model,
)
