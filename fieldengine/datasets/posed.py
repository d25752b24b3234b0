"""A file of poses and the images it names become cameras with images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fieldengine.cameras import from_file
from fieldengine.cameras.camera import Camera, Cameras
from fieldengine.datasets.images import downscaled, premultiplied, to_float
from fieldengine.datasets.multiview import CameraImages
from fieldengine.errors import DataError
from fieldengine.files.frame_image import beside, find_image, is_there
from fieldengine.files.image import ImageFile, read_image
from fieldengine.files.image_range import require_unit_range
from fieldengine.files.notes import Note
from fieldengine.files.transforms import Frame, read_transforms

IN_PIXELS = frozenset({"fl_x", "fl_y", "cx", "cy"})


@dataclass(frozen=True)
class PosedFiles:
    """Frames of a file of poses and the image of each, which need not exist."""

    path: Path
    frames: tuple[Frame, ...]
    images: tuple[Path, ...]
    notes: tuple[Note, ...]

    @property
    def missing(self) -> list[Path]:
        return [image for image in self.images if not is_there(image)]

    @property
    def what_is_missing(self) -> str:
        """A clause about the images that are not there."""
        missing = self.missing
        names = ", ".join(str(image.relative_to(self.path.parent)) for image in missing[:3])
        there = next(beside(missing[0]), None)
        hint = f". There is {there.relative_to(self.path.parent)}: name it" if there else ""
        more = ", ..." if len(missing) > 3 else ""
        return f"names {len(self.images)} images, of which {len(missing)} are missing: {names}{more}{hint}"


def find_files(path: Path, n_views: int | None = None) -> PosedFiles:
    """The frames of a file of poses, `n_views` of them evenly spread; None takes all.

    Raises DataError for what cannot be used; that an image is missing is for the caller to judge.
    """
    found = read_transforms(path)
    frames, n = found.frames, len(found.frames)
    if n_views is not None:
        if n_views > n:
            raise DataError(path, f"holds {n} images; train_views asks for {n_views}")
        frames = tuple(frames[i * n // n_views] for i in range(n_views))  # 25 of 100 are every fourth
    images = tuple(find_image(path.parent, frame.file_path, frame.place) for frame in frames)
    return PosedFiles(path, frames, images, (*found.notes, *_twice(frames, images)))


def of_parallax(frames: Sequence[Frame]) -> Iterator[Note]:
    """A note where all cameras stand at one place: they may turn there, but see no depth."""
    eyes = np.stack([frame.pose[:, 3] for frame in frames])
    if float(np.ptp(eyes, axis=0).max()) > 1e-6 * max(1.0, float(np.abs(eyes).max())):
        return
    who = "there is one camera only" if len(frames) == 1 else f"all {len(frames)} cameras stand at one place"
    yield Note("parallax", "", f"{who}; nothing tells near from far")


def read_split(files: PosedFiles, downscale: int) -> tuple[CameraImages, list[Note]]:
    """The images of these files with their cameras, and what the user should know.

    Raises DataError where an image is missing or cannot be read, or its lens does not fit it.
    """
    if files.missing:
        raise DataError(files.path, files.what_is_missing)
    sizes: list[tuple[int, int]] = []
    images: list[Tensor] = []
    notes: list[Note] = []
    names = _names([path.relative_to(files.path.parent) for path in files.images])
    for path, name in zip(files.images, names, strict=True):
        file = read_image(path, turn=False)  # as the programs do that write such files
        height, width = file.values.shape[:2]
        sizes.append((width, height))
        images.append(_rgba(file, path, downscale))
        notes += _of_image(name, file, images[-1])
    cameras, said = _cameras(files, sizes, downscale)
    return CameraImages(names, cameras, tuple(images)), [*said, *notes]


def _cameras(
    files: PosedFiles, sizes: Sequence[tuple[int, int]], downscale: int
) -> tuple[tuple[Camera, ...], list[Note]]:
    """The camera of each image, whose stored width and height are in `sizes`."""
    _refuse_one_lens_for_several_sizes(files.frames, sizes)
    lenses = [frame.lens.on(*size) for frame, size in zip(files.frames, sizes, strict=True)]
    cameras = [from_file.camera_of(lens, frame.pose) for lens, frame in zip(lenses, files.frames, strict=True)]
    cameras = from_file.of_one_model([from_file.downscaled(camera, downscale) for camera in cameras])
    from_file.refuse_folded(cameras, [frame.place for frame in files.frames])
    try:
        Cameras.of(cameras)
    except ValueError as reason:
        raise DataError(files.path, str(reason)) from reason
    return cameras, [note for lens in lenses for note in lens.notes]


def _twice(frames: Sequence[Frame], images: Sequence[Path]) -> Iterator[Note]:
    counts = Counter(images)
    for frame, image in zip(frames, images, strict=True):
        if counts[image] > 1:
            text = f'"{frame.file_path}" is named by {counts[image]} frames; each counts as a view of its own'
            yield Note("twice", frame.place.name, text)


def _refuse_one_lens_for_several_sizes(frames: Sequence[Frame], sizes: Sequence[tuple[int, int]]) -> None:
    """A lens that the file states once, without a size, is of images of one size, or of one shape if it is an angle."""
    shared = [(frame, size) for frame, size in zip(frames, sizes, strict=True) if frame.lens.shared]
    for frame, (width, height) in shared:
        first, (w, h) = shared[0]
        same_shape = abs(width * h - height * w) <= max(w, h, width, height)
        if (width, height) == (w, h) or frame.lens.size or (same_shape and not frame.lens.shared & IN_PIXELS):
            continue
        raise frame.place.wrong(
            f"its image has {width}x{height} pixels, that of {first.place.name} {w}x{h}; the lens at the file's top "
            f"does not fit both. Write `w` and `h` beside it, or a lens in each frame"
        )


def _rgba(file: ImageFile, path: Path, downscale: int) -> Tensor:
    """(h, w, 4) uint8, colour times alpha."""
    require_unit_range(path, file.values, "Scale it to 0 to 1 in the file")
    image = to_float(torch.from_numpy(file.values))
    channels = image.shape[2]
    if channels in (1, 2):
        image = torch.cat([image[..., :1].expand(-1, -1, 3), image[..., 1:]], dim=-1)
    if image.shape[2] == 3:
        image = torch.cat([image, torch.ones_like(image[..., :1])], dim=-1)
    image = premultiplied(image)
    if downscale > 1:
        image = downscaled(image, downscale)
    if min(image.shape[:2]) < 1:
        raise DataError(path, f"has no pixel left after downscale {downscale}")
    return (image * 255.0).round().to(torch.uint8)


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """A name for each image that no other has: its stem, or its folders, too, or a number."""
    for names in (
        [path.stem for path in paths],
        ["_".join(path.with_suffix("").parts) for path in paths],
        ["_".join(path.parts) for path in paths],
    ):
        if len({name.casefold() for name in names}) == len(names):  # some file systems tell no case apart
            return tuple(names)
    return tuple(f"{i}_{path.stem}" for i, path in enumerate(paths))


def _of_image(name: str, file: ImageFile, image: Tensor) -> Iterator[Note]:
    if file.orientation != 1:
        text = f"the orientation tag {file.orientation} is not applied, as poses are made for pixels as they are stored"
        yield Note("orientation", name, text)
    for sentence in file.notes:
        yield Note(sentence, name, sentence)
    lowest, highest = image.view(-1, 4).amin(dim=0), image.view(-1, 4).amax(dim=0)
    if int(highest[3]) == 0:
        yield Note("clear", name, "alpha is 0 everywhere; nothing is shown")
    elif torch.equal(lowest, highest):
        yield Note("flat", name, f"one colour everywhere, {tuple(highest.tolist())}; nothing is shown")
