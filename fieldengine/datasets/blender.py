"""The NeRF-synthetic layout: transforms_{train,val,test}.json beside RGBA images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fieldengine.datasets.multiview import CameraImages, MultiviewDataset
from fieldengine.datasets.posed import PosedFiles, find_files, of_parallax, read_split
from fieldengine.datasets.visibility import check_visibility
from fieldengine.errors import DataError
from fieldengine.files.notes import merged
from fieldengine.types import Aabb, RunContext

SPLITS = ("train", "val", "test")
Unit = Annotated[float, Field(ge=0, le=1)]
Corner = tuple[float, float, float]


@dataclass(frozen=True)
class Blender:
    """Posed images in the layout of NeRF-synthetic.

    The format of Mildenhall et al. 2020. `transforms_train.json` holds `camera_angle_x` (the horizontal field of
    view, radians) and, per frame, `file_path` and `transform_matrix` (camera-to-world, OpenGL axes). Images may be
    RGB or RGBA with straight alpha; their stored pixels are used, whatever their orientation tag says. The keys of
    instant-ngp and nerfstudio are heeded, too: `fl_x`, `fl_y`, `cx`, `cy`, `w`, `h`, `k1` to `k6`, `p1`, `p2`,
    `camera_model`, for the whole file or per frame (docs/files.md lists them).

    Scene: `dataset: {type: blender, path: data/lego, downscale: 2}`
    """

    default_field: ClassVar[str] = "radiance"
    default_renderer: ClassVar[str] = "volume"
    default_metrics: ClassVar[tuple[str, ...]] = ("psnr", "ssim")

    path: Path
    """the folder with transforms_train.json"""
    downscale: Annotated[int, Field(ge=1)] = 1
    """average this many pixels each way into one"""
    background: Literal["white", "black", "grey"] | tuple[Unit, Unit, Unit] = "white"
    """colour behind transparent pixels when images are compared or rendered"""
    random_background: bool = True
    """while training, a random colour behind each ray of transparent images"""
    train_views: Annotated[int, Field(ge=1)] | None = None
    """train on this many of the training images, evenly spaced; null takes all of them"""
    aabb: tuple[Corner, Corner] = ((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5))
    """lower and upper corner of the space that is fitted"""

    def __post_init__(self) -> None:
        if any(a >= b for a, b in zip(*self.aabb, strict=True)):
            raise ValueError(
                f"aabb: the lower corner {self.aabb[0]} must be below the upper corner {self.aabb[1]} on every axis"
            )

    def build(self, *, context: RunContext) -> MultiviewDataset:
        if not self.path.is_dir():
            what = "is a file" if self.path.exists() else "no such folder"
            raise DataError(self.path, f"{what}. `dataset.path` names the folder that holds transforms_train.json")
        if not _transforms(self.path, "train").exists():
            found = ", ".join(sorted(p.name for p in self.path.iterdir())[:8]) or "nothing"
            alone = (self.path / "transforms.json").exists()
            hint = ". Rename transforms.json, or split its frames into transforms_train.json and transforms_test.json"
            raise DataError(self.path, f"has no transforms_train.json. It holds: {found}{hint if alone else ''}")
        aabb = Aabb.of(*self.aabb)
        files, sentences = self._files()
        notes = [note.within("transforms_train.json") for note in of_parallax(files["train"].frames)]
        splits: dict[str, CameraImages] = {}
        for name, found in files.items():
            images, said = read_split(found, self.downscale)
            said = (*found.notes, *said, *check_visibility(found.path, images.names, images.cameras, aabb))
            notes += [note.within(found.path.name) for note in said]
            splits[name] = images.to(context.device)
        return MultiviewDataset(
            splits,
            aabb=aabb.to(context.device),
            background=self.background,
            random_background=self.random_background,
            notes=[*sentences, *merged(notes)],
            files=[file for found in files.values() for file in (found.path, *dict.fromkeys(found.images))],
        )

    def _files(self) -> tuple[dict[str, PosedFiles], list[str]]:
        """The files of each split there is, and sentences about those there are not."""
        found: dict[str, PosedFiles] = {}
        notes: list[str] = []
        for split in SPLITS:
            path = _transforms(self.path, split)
            if not path.exists():
                continue
            files = find_files(path, self.train_views if split == "train" else None)
            if split != "train" and len(files.missing) == len(files.images):
                notes.append(f"{path.name} {files.what_is_missing}; without them there is no {split} split to score")
                continue
            found[split] = files
        if not _transforms(self.path, "test").exists():
            notes.append(
                "transforms_test.json is missing: there is no test split, and no score of it. "
                "`evaluation.splits: [train]` scores the training views"
            )
        return found, [*notes, *_seen_before(found)]


def _transforms(folder: Path, split: str) -> Path:
    return folder / f"transforms_{split}.json"


def _seen_before(files: Mapping[str, PosedFiles]) -> Iterator[str]:
    """A sentence about each split that is scored on images it was trained on."""
    train = set(files["train"].images)
    for split, found in files.items():
        shared = sum(image in train for image in found.images)
        if split != "train" and shared:
            yield (
                f"{found.path.name}: {shared} of its {len(found.images)} images are training images; their scores say "
                f"nothing of new views"
            )
