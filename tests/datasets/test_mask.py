"""Hidden pixels are hidden where the mask says, never reach training, and are scored apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage
from torch import Tensor

import fieldengine
from fieldengine.config.scene import read_scene
from fieldengine.datasets.image import Image, ImageDataset
from fieldengine.datasets.mask import Mask
from fieldengine.errors import DataError, FieldEngineError
from fieldengine.metrics.evaluate import find_metrics, score_views
from fieldengine.plugins.registry import Registry
from fieldengine.renderers.direct import DirectRenderer
from fieldengine.runs.build import TrainedField
from fieldengine.runs.load import Run
from fieldengine.types import RunContext

Build = Callable[..., ImageDataset]
Scene = Callable[..., Path]
TRAINING = """
field: {encoding: identity, activation: {type: finer, omega: 5, first_omega: 5}, width: 8, depth: 1}
training: {steps: 6, batch_size: 40, tile: 64}
"""


@pytest.fixture
def build(photo: Path, context: RunContext) -> Build:
    """The data set of the image of 24 x 16 pixels with a mask of these keys."""
    return lambda image=None, **keys: Image(photo, **(image or {}), mask=Mask(**keys)).build(context=context)


def hidden_of(dataset: ImageDataset) -> Tensor:
    hidden = dataset.views("test")[0].hidden
    assert hidden is not None
    return hidden.view(dataset.grid.shape)


def patch(height: int, width: int, *corners: tuple[int, int, int, int]) -> Tensor:
    hidden = torch.zeros(height, width, dtype=torch.bool)
    for top, bottom, left, right in corners:
        hidden[top : bottom + 1, left : right + 1] = True
    return hidden


def trained_on(scene: Scene, tmp_path: Path, dataset: str, name: str) -> Run:
    path = scene(f"dataset: {{type: image, {dataset}}}\n{TRAINING}", f"{name}.yaml")
    return fieldengine.train(path, out=tmp_path / name, quiet=True)


# --------------------------------------------------------------------------------------------------- what is hidden


def test_a_image_without_a_mask_has_no_hidden_pixels(build: Build):
    dataset = build()
    assert dataset.n_items == 16 * 24
    assert dataset.views("test")[0].hidden is None


def test_random_hides_where_numpy_draws_at_most_the_rate(build: Build):
    drawn = np.random.RandomState(88).random_sample((16, 24))
    assert torch.equal(hidden_of(build(random=0.3)), torch.from_numpy(drawn <= 0.3))
    other = np.random.RandomState(5).random_sample((16, 24))
    assert torch.equal(hidden_of(build(random=0.3, seed=5)), torch.from_numpy(other <= 0.3))


def test_rows_and_cols_are_a_patch_both_ends_included(build: Build):
    assert torch.equal(hidden_of(build(rows=(3, 5), cols=(10, 23))), patch(16, 24, (3, 5, 10, 23)))


def test_several_patches_are_hidden_one_by_one(build: Build):
    hidden = hidden_of(build(rows=((0, 1), (14, 15)), cols=((0, 2), (20, 23))))
    assert torch.equal(hidden, patch(16, 24, (0, 1, 0, 2), (14, 15, 20, 23)))


def test_rows_alone_are_bands_and_cols_alone_too(build: Build):
    assert torch.equal(hidden_of(build(rows=((2, 2), (7, 8)))), patch(16, 24, (2, 2, 0, 23), (7, 8, 0, 23)))
    assert torch.equal(hidden_of(build(cols=(4, 6))), patch(16, 24, (0, 15, 4, 6)))


def test_a_pixel_is_hidden_where_any_key_hides_it(build: Build):
    both = hidden_of(build(random=0.3, rows=(3, 5)))
    assert torch.equal(both, hidden_of(build(random=0.3)) | hidden_of(build(rows=(3, 5))))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_mask_image_hides_where_it_is_dark(channels: int, tmp_path: Path, build: Build):
    grey = np.random.default_rng(0).integers(0, 256, (16, 24)).astype(np.uint8)
    values = np.repeat(grey[:, :, None], channels, axis=2)
    if channels == 4:
        values[..., 3] = 255
    iio.imwrite(tmp_path / "mask.png", values.squeeze())
    assert torch.equal(hidden_of(build(file=tmp_path / "mask.png")), torch.from_numpy(grey < 128))


def test_a_mask_as_large_as_the_file_is_cropped_and_averaged_like_it(tmp_path: Path, build: Build):
    values = np.random.default_rng(0).integers(0, 2, (16, 24)).astype(np.uint8) * 255
    iio.imwrite(tmp_path / "mask.png", values)
    hidden = hidden_of(build({"crop": (2, 4, 20, 8), "downscale": 2}, file=tmp_path / "mask.png"))
    part = values[4:12, 2:22].reshape(4, 2, 10, 2).mean(axis=(1, 3)) / 255
    assert torch.equal(hidden, torch.from_numpy(part < 0.5))


def test_a_mask_as_large_as_the_fitted_image_is_taken_as_it_is(tmp_path: Path, build: Build):
    values = np.zeros((4, 10), np.uint8)
    values[1, 2:] = 255
    iio.imwrite(tmp_path / "mask.png", values)
    hidden = hidden_of(build({"crop": (2, 4, 20, 8), "downscale": 2}, file=tmp_path / "mask.png"))
    assert torch.equal(hidden, torch.from_numpy(values == 0))


# ----------------------------------------------------------------------------------------------- training and scores


def test_items_are_the_observed_pixels_in_order_with_their_own_places(build: Build):
    dataset, whole = build(random=0.5), build()
    left = (~hidden_of(dataset)).flatten().nonzero()[:, 0]
    assert dataset.n_items == len(left) < 16 * 24
    numbers = torch.tensor([0, 5, dataset.n_items - 1])
    batch, same = (d.batch(i, torch.Generator()) for d, i in ((dataset, numbers), (whole, left[numbers])))
    assert torch.equal(batch.targets, same.targets)
    assert torch.equal(batch.items.positions, same.items.positions)
    assert torch.equal(batch.indices, numbers)


@pytest.mark.parametrize("mask", ["{random: 0.4}", "{rows: [2, 9], cols: [3, 20]}", "mask.png"])
def test_what_is_hidden_never_reaches_training(mask: str, photo: Path, scene: Scene, tmp_path: Path):
    iio.imwrite(tmp_path / "mask.png", np.tile(np.array([[0, 255, 255]], np.uint8), (16, 8)))
    first = trained_on(scene, tmp_path, f"path: {photo}, mask: {mask}", "first")
    values = iio.imread(photo)
    config = read_scene(tmp_path / "first.yaml")
    context = RunContext(torch.device("cpu"), torch.Generator(), 0)
    values[hidden_of(config.dataset.build(context=context)).numpy()] ^= 255
    iio.imwrite(tmp_path / "other.png", values)
    second = trained_on(scene, tmp_path, f"path: {tmp_path / 'other.png'}, mask: {mask}", "second")
    pairs = zip(first.field.parameters(), second.field.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert first.metrics["observed_psnr"] == second.metrics["observed_psnr"]
    assert first.metrics["hidden_psnr"] != second.metrics["hidden_psnr"]


def test_parts_are_scored_apart(build: Build):
    dataset = build(rows=(0, 3), cols=(0, 23))

    class Off(torch.nn.Module):
        def values(self, x: Tensor) -> Tensor:
            """The target, 0.1 off in the hidden rows and 0.01 off in the others."""
            row = ((x[:, 0] + 1) * 7.5).round().long()
            column = ((x[:, 1] + 1) * 11.5).round().long()
            target = dataset.views("test")[0].target[24 * row + column]
            off = torch.where(row < 4, 0.1, 0.01)[:, None]
            return torch.where(target > 0.5, target - off, target + off)

    trained = TrainedField(Off(), DirectRenderer(), dataset.domain)
    scores = score_views(trained, dataset.views("test"), find_metrics(("psnr", "ssim", "psnr_unclipped"), Registry()))
    assert scores["hidden_psnr"] == pytest.approx(20.0, abs=1e-3)
    assert scores["observed_psnr"] == pytest.approx(40.0, abs=1e-3)
    assert scores["psnr"] == pytest.approx(-10 * np.log10(0.25 * 1e-2 + 0.75 * 1e-4), abs=1e-3)
    assert set(scores) == {"psnr", "ssim", "psnr_unclipped"} | {
        f"{part}_{name}" for part in ("hidden", "observed") for name in ("psnr", "psnr_unclipped")
    }


def test_without_a_mask_scores_are_named_as_ever(photo: Path, scene: Scene, tmp_path: Path):
    assert set(trained_on(scene, tmp_path, f"path: {photo}", "run").metrics) == {"psnr", "ssim"}


def test_a_run_is_scored_again_and_its_frequency_is_not_chosen_by_what_is_hidden(
    photo: Path, scene: Scene, tmp_path: Path
):
    run = trained_on(scene, tmp_path, f"path: {photo}, mask: {{random: 0.4}}", "run")
    again = fieldengine.load(tmp_path / "run").evaluate()
    assert again["hidden_psnr"] == pytest.approx(run.metrics["hidden_psnr"], abs=1e-3)
    with pytest.raises(FieldEngineError, match=r"whole image, of which dataset\.mask hides some"):
        fieldengine.train(tmp_path / "run.yaml", {"field.activation.omega": "auto"}, out=tmp_path / "auto")


# -------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("{random: 0}", "dataset.mask.random: expected greater than 0"),
        ("{random: 1.0}", "dataset.mask.random: expected less than 1"),
        ("{random: 1.e-9}", "mask hides 0 of 384 pixels; leave it out"),
        ("{rows: [0, 15]}", "mask hides 384 of 384 pixels; nothing is left to learn from"),
        ("{rows: [5, 3]}", "rows runs from 5 to 3; write the first one first"),
        ("{rows: [5, 16]}", "mask.rows 5 to 16 leave the image, whose last is 15"),
        ("{rows: [5, 15], cols: [20, 24]}", "mask.cols 20 to 24 leave the image, whose last is 23"),
        ("{rows: [[1, 2], [3, 4]], cols: [1, 2]}", "2 rows and 1 cols; each patch has one of both"),
        ("{ratio: 0.5}", "no such key. Keys here: random, seed, rows, cols, file"),
        ("0.5", "dataset.mask: expected path | null, or a block of keys (random,"),
        ("none.png", "no such file. Set `dataset.mask` to an image"),
        ("wide.png", "is 16x24 pixels; a mask of this image has 24x16"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_refused_in_a_sentence(
    mask: str, said: str, photo: Path, scene: Scene, tmp_path: Path
):
    iio.imwrite(tmp_path / "wide.png", np.zeros((24, 16), np.uint8))
    with pytest.raises(FieldEngineError) as caught:
        trained_on(scene, tmp_path, f"path: {photo}, mask: {mask}", "run")
    assert said in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mask", ["null", "{}", "{random: null}"])
def test_a_mask_may_be_switched_off(mask: str, photo: Path, scene: Scene):
    config: Any = read_scene(scene(f"dataset: {{type: image, path: {photo}, mask: {mask}}}"))
    assert config.dataset.mask == Mask()
    assert config.plain["dataset"]["mask"]["random"] is None


def test_a_mask_file_is_looked_for_beside_the_scene_and_named_whole_in_the_run_folder(photo: Path, scene: Scene):
    path = scene(f"dataset: {{type: image, path: {photo}, mask: mask.png}}")
    assert read_scene(path).plain["dataset"]["mask"]["file"] == str(path.parent / "mask.png")


def write_mask(path: Path, values: np.ndarray, **options: Any) -> Mask:
    tifffile.imwrite(path, values, metadata=None, **options)
    return Mask(file=path)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_mask_is_dark_where_it_is_transparent(kind: type, tmp_path: Path, build: Build):
    values = np.full((16, 24, 4), np.iinfo(kind).max, kind)
    values[3, 5:9, 3] = 0
    write_mask(tmp_path / "mask.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    found = hidden_of(build(file=tmp_path / "mask.tif"))
    assert torch.equal(found, torch.from_numpy(values[..., 3] == 0))


def test_a_mask_of_floats_beyond_one_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="values from 255 to 255; 0 to 1 is expected"):
        write_mask(tmp_path / "mask.tif", np.full((16, 24), 255, np.float32)).image()


def test_a_mask_with_a_palette_is_judged_by_its_colours(tmp_path: Path, build: Build):
    indices = np.random.default_rng(0).integers(0, 2, (16, 24)).astype(np.uint8)
    image = PillowImage.fromarray(indices, mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "mask.png")
    assert torch.equal(hidden_of(build(file=tmp_path / "mask.png")), torch.from_numpy(indices == 1))


def test_what_is_said_of_a_mask_names_the_mask(tmp_path: Path, build: Build):
    pages = np.zeros((2, 16, 24), np.uint8)
    pages[:, 4:] = 255
    write_mask(tmp_path / "mask.tif", pages, photometric="minisblack")
    (note,) = build(file=tmp_path / "mask.tif").notes()
    assert note == f"{tmp_path / 'mask.tif'}: holds 2 images; the first one is used"
