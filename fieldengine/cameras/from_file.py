"""Cameras as files of poses state them: a lens in numbers becomes a camera of one of the engine's models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from numpy.typing import NDArray

from fieldengine.cameras.camera import Camera, Cameras
from fieldengine.cameras.opencv import OpenCV
from fieldengine.cameras.opencv_fisheye import OpenCVFisheye
from fieldengine.cameras.pinhole import Pinhole
from fieldengine.errors import DataError
from fieldengine.files.camera_path import CameraPath
from fieldengine.files.lens import Intrinsics
from fieldengine.files.notes import Note, merged
from fieldengine.files.strict_json import Place
from fieldengine.kinds.camera import CameraModel

MODELS: dict[str, CameraModel] = {"pinhole": Pinhole(), "opencv": OpenCV(), "opencv_fisheye": OpenCVFisheye()}


def camera_of(lens: Intrinsics, pose: NDArray) -> Camera:
    """The camera of a lens at a pose (3, 4)."""
    return Camera(
        pose=(),
        height=lens.height,
        width=lens.width,
        fx=lens.fx,
        fy=lens.fy,
        cx=lens.cx,
        cy=lens.cy,
        name=lens.model,
        parameters=lens.parameters,
        model=MODELS[lens.model],
    ).at(torch.from_numpy(pose))


def along(path: CameraPath, camera: Camera) -> tuple[list[Camera], tuple[str, ...]]:
    """A camera at each stop of a path, and sentences for the user about how its file was read.

    Each has the stop's own lens, or that of `camera` where the file states none. A lens is one of images of the size
    that the file says, or of the size of `camera`. Raises DataError where sizes differ from stop to stop.
    """
    cameras: list[Camera] = []
    notes: list[Note] = []
    for stop in path.stops:
        if stop.lens is None:
            cameras.append(camera.at(torch.from_numpy(stop.pose)))
            continue
        width, height = stop.lens.size or (camera.width, camera.height)
        lens = stop.lens.on(width, height)
        cameras.append(camera_of(lens, stop.pose))
        notes += lens.notes
    sizes = sorted({(one.width, one.height) for one in cameras})
    if len(sizes) > 1:
        found = ", ".join(f"{width}x{height}" for width, height in sizes)
        raise DataError(path.path, f"has frames of several sizes, {found}; those of a video have one")
    refuse_folded(cameras, [Place(path.path, f"frame {i}") for i in range(len(cameras))])
    return cameras, (*path.notes, *merged(notes))


def refuse_folded(cameras: Sequence[Camera], places: Sequence[Place]) -> None:
    """Raise DataError where a lens folds its image over, with the first place that states it."""
    lenses = dict(zip(reversed([replace(camera, pose=()) for camera in cameras]), reversed(places), strict=True))
    nowhere = torch.eye(4)
    for lens, place in reversed(lenses.items()):
        if not lens.parameters:
            continue
        try:
            Cameras.of([lens.at(nowhere)]).refuse_folded_lenses()
        except ValueError as reason:
            raise place.wrong(str(reason).removeprefix("camera 0: ")) from reason


def downscaled(camera: Camera, factor: int) -> Camera:
    """The camera of an image whose pixels are means over factor x factor; a rest at the right and the bottom is cut."""
    return replace(
        camera,
        height=camera.height // factor,
        width=camera.width // factor,
        fx=camera.fx / factor,
        fy=camera.fy / factor,
        cx=camera.cx / factor,
        cy=camera.cy / factor,
    )


def of_one_model(cameras: Sequence[Camera]) -> tuple[Camera, ...]:
    """Pinholes among distorted cameras as distorted ones without distortion: all of a data set share one model."""
    if not any(camera.name == "opencv" for camera in cameras):
        return tuple(cameras)
    straight = {"name": "opencv", "parameters": (0.0,) * OpenCV.n_parameters, "model": MODELS["opencv"]}
    return tuple(replace(camera, **straight) if camera.name == "pinhole" else camera for camera in cameras)
