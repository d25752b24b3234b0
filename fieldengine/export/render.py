"""Images and videos of a trained field as files: what `fieldengine render` does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from fieldengine.cameras.camera import Camera
from fieldengine.cameras.from_file import along
from fieldengine.cameras.paths import orbit, spiral
from fieldengine.errors import FieldEngineError, PluginError, RunError
from fieldengine.export.files import require_suffix
from fieldengine.export.image import IMAGES, VIDEOS, ImagePresenter, require_fits, write_image, write_video
from fieldengine.files.camera_path import read_camera_path
from fieldengine.kinds.dataset import Presenter
from fieldengine.kinds.exporter import Trained
from fieldengine.plugins.registry import Registry
from fieldengine.renderers.image import render_image
from fieldengine.types import PixelGrid

MAX_PIXELS = 1 << 28
FRAMES = 60  # of a path that has no number of its own


def sized(grid: PixelGrid, scale: float | None, size: tuple[int, int] | None) -> PixelGrid:
    """The grid with `scale` times as many pixels a side, or with `size` = (width, height) pixels."""
    if scale is not None and not math.isfinite(scale):
        raise FieldEngineError(f"--scale {scale} is not a finite number")
    if size is not None and len(grid.shape) != 2:
        raise FieldEngineError(f"--size is of images; this signal has {len(grid.shape)} dimensions. Use --scale")
    shape = [round(side * (scale or 1.0)) for side in grid.shape] if size is None else [size[1], size[0]]
    if min(shape) < 1 or math.prod(shape) > MAX_PIXELS:
        asked = "x".join(map(str, reversed(shape)))
        raise FieldEngineError(f"an image of {asked} pixels is asked for; it needs 1 to {MAX_PIXELS} pixels")
    return grid.resized(*shape)


def render_file(
    trained: Trained,
    out: Path | None,
    *,
    folder: Path,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    path: str | None = None,
    frames: int | None = None,
    fps: int = 30,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
    on_note: Callable[[str], None] = lambda sentence: None,
) -> Path:
    """Write an image or a video of a trained field.

    A flat signal gives an image. A scene seen by cameras gives a video along `path` (orbit, spiral, or a JSON file
    of poses); where `out` is an image, the first frame of that path, or the data's own view where none is named.

    Args:
        out: file to write; None chooses `image.png`, or another name for another signal, or `PATH.mp4` in `folder`.
        frames: of an orbit or a spiral, 60 where it is None; a file has as many as it has poses.
        on_progress: called with frames done and frames in all.
        on_note: called with each sentence about how a file of poses was read.

    Returns:
        the file written.
    """
    plain = trained.domain.grid
    if plain is None:
        raise RunError(out or folder, "this field has no image to render")
    grid = sized(plain, scale, size)
    if not isinstance(plain, Camera):
        if path is not None:
            raise FieldEngineError("--path is for scenes seen by cameras; this field is a flat image")
        presenter = presenter_of(trained, Registry())
        out = out or (folder / trained.domain.task).with_suffix(presenter.suffixes[0])
        return present(trained, presenter, grid, out)
    out = out or folder / f"{Path(path or 'orbit').stem}.mp4"
    suffix = require_suffix(out, (*VIDEOS, *IMAGES), "a rendering")
    stops = _cameras(trained, plain, path or "orbit", frames, on_note)
    cameras = [sized(camera, scale, size) for camera in stops]
    first = grid if suffix in IMAGES and path is None else cameras[0]
    require_fits(out, first.shape[1], first.shape[0])
    if suffix in IMAGES:
        write_image(out, _image(trained, first))
        return out

    def images() -> Iterator[Tensor]:
        for i, camera in enumerate(cameras):
            yield _image(trained, camera)
            on_progress(i + 1, len(cameras))

    write_video(out, images(), fps)
    return out


def presenter_of(trained: Trained, registry: Registry) -> Presenter:
    """How the signal of the data that a field was trained on is written; an image where that data set does not say."""
    name = trained.recipe.get("dataset")
    if name is None:
        return ImagePresenter()
    try:
        options = registry.find("datasets", name).load()
    except PluginError as reason:
        if trained.domain.is_image:
            return ImagePresenter()
        raise PluginError(f"{reason}. Install it: it knows how this signal is written") from reason
    return getattr(options, "presenter", ImagePresenter())


def show(trained: Trained, out: Path, grid: PixelGrid) -> None:
    """Write what a grid shows of a field, `out` without its ending: an image, or a signal as its data set says."""
    if isinstance(grid, Camera):
        write_image(out.with_suffix(".png"), _image(trained, grid))
    else:
        presenter = presenter_of(trained, Registry())
        present(trained, presenter, grid, out.with_suffix(presenter.suffixes[0]))


def present(trained: Trained, presenter: Presenter, grid: PixelGrid, out: Path) -> Path:
    """Write the field's values on a grid of points. Raises RunError for an ending that the presenter does not write."""
    article = "an" if trained.domain.task[:1] in "aeiou" else "a"
    require_suffix(out, presenter.suffixes, f"{article} {trained.domain.task}")
    if isinstance(presenter, ImagePresenter) and len(grid.shape) == 2:
        require_fits(out, grid.shape[1], grid.shape[0])
    presenter.write(_image(trained, grid), out)
    return out


def _cameras(
    trained: Trained, camera: Camera, path: str, frames: int | None, on_note: Callable[[str], None]
) -> list[Camera]:
    """The cameras along a path, of the data's own size or that which a file states."""
    circle = {"orbit": orbit, "spiral": spiral}.get(path)
    if circle is not None:
        return [camera.at(pose) for pose in circle(trained.domain, frames or FRAMES)]
    if Path(path).suffix.lower() != ".json":
        raise FieldEngineError(f'no camera path "{path}". Paths: orbit, spiral, or a .json file of camera poses')
    found = read_camera_path(Path(path))
    if frames is not None:
        n = len(found.stops)
        raise FieldEngineError(
            f"--frames {frames} applies to orbit and spiral; {path} has {n} poses, one per frame. Leave it out"
        )
    cameras, notes = along(found, camera)
    for sentence in notes:
        on_note(f"{path}: {sentence}")
    return cameras


def _image(trained: Trained, grid: PixelGrid) -> Tensor:
    with torch.no_grad():
        return render_image(trained.field, trained.renderer, trained.domain, grid).values
