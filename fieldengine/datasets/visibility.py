"""Whether cameras see the box at all: what no ray meets cannot be learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fieldengine.cameras.camera import Camera
from fieldengine.errors import DataError
from fieldengine.files.notes import Note
from fieldengine.ops.intersect import intersect_aabb
from fieldengine.types import Aabb

ACROSS = 16  # pixels per side that are tried before all of them
AT_ONCE = 1 << 20
FEW = 0.02


def shares(cameras: Sequence[Camera], aabb: Aabb) -> Tensor:
    """Of each camera the share of its pixels whose rays meet the box, (k,); estimated where it is not near zero."""
    return torch.tensor([_share(camera, aabb) for camera in cameras])


def check_visibility(path: Path, names: Sequence[str], cameras: Sequence[Camera], aabb: Aabb) -> Iterator[Note]:
    """Notes about cameras that see little or nothing of the box.

    Raises DataError where no ray of any camera meets it.
    """
    found = shares(cameras, aabb)
    if float(found.max()) == 0.0:
        box = f"{_corner(aabb.lower)} to {_corner(aabb.upper)}"
        cause = why_unseen(cameras, aabb)
        raise DataError(path, f"no ray of its {len(cameras)} cameras meets the box {box}. {cause}")
    blind = [name for name, share in zip(names, found.tolist(), strict=True) if share == 0.0]
    if blind:
        listed = ", ".join(blind[:3]) + (", ..." if len(blind) > 3 else "")
        text = f"{len(blind)} of {len(cameras)} cameras see nothing of the box `dataset.aabb`: {listed}"
        yield Note("blind", "", text)
    if float(found.mean()) < FEW:
        share = f"only {float(found.mean()):.2%} of the rays meet the box `dataset.aabb`, {aabb.diagonal:.3g} across"
        yield Note("few", "", f"{share}. {why_unseen(cameras, aabb)}")


def _corner(values: Tensor) -> str:
    return f"({', '.join(f'{value:.3g}' for value in values.tolist())})"


@dataclass(frozen=True)
class Focus:
    """The place that cameras look at, and their mean distance from it."""

    place: tuple[float, float, float]
    distance: float


def why_unseen(cameras: Sequence[Camera], aabb: Aabb) -> str:
    """The likely cause, a sentence, where no ray of any camera meets the box."""
    for mistake, cause in MISTAKES.items():
        seen = shares([camera.at(mistake(camera)) for camera in cameras], aabb) > 0
        if float(seen.float().mean()) > 0.9:
            return cause
    found = focus(cameras)
    if found is None:
        return "Check `dataset.aabb` and the poses"
    place = torch.tensor(found.place)
    if bool(((place >= aabb.lower) & (place <= aabb.upper)).all()):
        return f"It lies between their pixels, {found.distance:.3g} away: enlarge `dataset.aabb`"
    return (
        f"The cameras look at {_corner(place)} from a distance of {found.distance:.3g}: set `dataset.aabb` around that "
        f"place, or check the poses"
    )


def focus(cameras: Sequence[Camera]) -> Focus | None:
    """The place nearest to all lines of sight (least squares); None where these are parallel or it lies behind."""
    poses = torch.tensor([camera.pose for camera in cameras], dtype=torch.float64)
    eyes, ahead = poses[:, :, 3], -poses[:, :, 2]
    across = torch.eye(3, dtype=torch.float64) - ahead[:, :, None] * ahead[:, None, :]
    total = across.sum(dim=0)
    if float(torch.linalg.eigvalsh(total)[0]) < 1e-3 * len(cameras):
        return None
    place = torch.linalg.solve(total, (across @ eyes[:, :, None]).sum(dim=0))[:, 0]
    towards = place - eyes
    if float(((towards * ahead).sum(dim=1) > 0).double().mean()) < 0.5:
        return None
    x, y, z = place.tolist()
    return Focus((x, y, z), float(torch.linalg.vector_norm(towards, dim=1).mean()))


def _flipped(camera: Camera) -> Tensor:
    return torch.tensor(camera.pose) * torch.tensor([1.0, -1.0, -1.0, 1.0])


def _inverted(camera: Camera) -> Tensor:
    pose = torch.tensor(camera.pose)
    turn = pose[:, :3].T
    return torch.cat([turn, -turn @ pose[:, 3:]], dim=1)


def _inverted_and_flipped(camera: Camera) -> Tensor:
    return _inverted(camera) * torch.tensor([1.0, -1.0, -1.0, 1.0])


MISTAKES = {  # what would mend poses, and what was wrong with them
    _flipped: "With y and z of the cameras flipped they would: the poses have OpenCV's axes, OpenGL's are needed",
    _inverted: "Inverted they would: the poses are world-to-camera, camera-to-world is needed",
    _inverted_and_flipped: (
        "Inverted, and with y and z flipped, they would: the poses are world-to-camera with OpenCV's axes, "
        "camera-to-world with OpenGL's is needed"
    ),
}


def _share(camera: Camera, aabb: Aabb) -> float:
    rows, columns = (torch.linspace(0, side - 1, min(side, ACROSS)).round().long() for side in camera.shape)
    few = (rows[:, None] * camera.width + columns).flatten()
    share = _hits(camera, few, aabb) / len(few)
    if share:
        return share
    n = camera.height * camera.width
    hits = sum(_hits(camera, torch.arange(at, min(at + AT_ONCE, n)), aabb) for at in range(0, n, AT_ONCE))
    return hits / n


def _hits(camera: Camera, pixels: Tensor, aabb: Aabb) -> int:
    with torch.no_grad():
        near, far = intersect_aabb(camera.items(pixels), aabb)
    return int((far > near).sum())
