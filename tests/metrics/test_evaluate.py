"""Scores against closed forms: noise of known size, balls of known volume, surfaces a known distance apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor, nn

from fieldengine.cameras.grid import SignalGrid
from fieldengine.datasets.mesh_surface import MeshSurface
from fieldengine.kinds.dataset import ReferenceSurface
from fieldengine.metrics import surface as metrics
from fieldengine.metrics.evaluate import NamedMetric, evaluate, find_metrics, score_views, why_not
from fieldengine.metrics.surface import Comparison
from fieldengine.plugins.registry import Registry
from fieldengine.renderers.direct import DirectRenderer
from fieldengine.runs.build import TrainedField
from fieldengine.types import Aabb, Domain, View

BOX = Aabb.of([-2.0] * 3, [2.0] * 3)
USUAL = ("psnr", "ssim")
OF_SURFACES = ("iou", "chamfer", "normal_consistency")


def of(*names: str) -> list[NamedMetric]:
    return find_metrics(names, Registry())


def iou(field: nn.Module, reference: ReferenceSurface, box: Aabb, seed: int) -> float:
    return Comparison(trained(field, box), reference, seed).iou


def score_surface(field: TrainedField, reference: ReferenceSurface) -> dict[str, float]:
    return evaluate(field, SimpleNamespace(splits=(), surface=reference), [], of(*OF_SURFACES))  # pyright: ignore


class Balls(nn.Module):
    """The union of balls as a signed distance."""

    def __init__(self, *balls: tuple[Sequence[float], float]):
        super().__init__()
        self.centres = torch.tensor([centre for centre, _ in balls])
        self.radii = torch.tensor([radius for _, radius in balls])

    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        distance = torch.cdist(x, self.centres) - self.radii
        return distance.amin(dim=-1), x[:, :0]

    def inside(self, x: Tensor) -> Tensor:
        return self.sdf(x)[0] < 0


def ball(radius: float, *centre: float) -> Balls:
    return Balls((centre or (0.0, 0.0, 0.0), radius))


def trained(field: nn.Module, box: Aabb = BOX) -> TrainedField:
    return TrainedField(field, None, Domain(task="sdf", aabb=box, out_dim=1))


def ball_mesh(radius: float, *centre: float) -> MeshSurface:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return MeshSurface(np.asarray(mesh.vertices) + (centre or (0.0, 0.0, 0.0)), np.asarray(mesh.faces))


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Surfaces from fewer cells and points, which is enough for balls."""
    monkeypatch.setattr(metrics, "CHAMFER_RESOLUTION", 48)
    monkeypatch.setattr(metrics, "SURFACE_POINTS", 6000)
    monkeypatch.setattr(metrics, "IOU_POINTS", 20_000)


# ---------------------------------------------------------------------------------------------------- images


class Grey(nn.Module):
    """The same grey everywhere."""

    def values(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 3), 0.5)


def grey_views(*errors: float) -> list[View]:
    """Images from which the grey field is off by the given amounts."""
    grid = SignalGrid.of((12, 13))
    return [View(str(i), grid, torch.full((156, 3), 0.5 + error), None) for i, error in enumerate(errors)]


def grey_trained(task: str = "image") -> TrainedField:
    return TrainedField(Grey(), DirectRenderer(), Domain(task=task, aabb=Aabb.of([-1, -1], [1, 1]), out_dim=3))


def test_psnr_of_a_split_is_the_mean_of_psnrs_not_the_psnr_of_the_mean_error():
    scores = score_views(grey_trained(), grey_views(0.1, 0.01), of("psnr"))
    assert scores["psnr"] == pytest.approx((20.0 + 40.0) / 2, abs=1e-2)


class Shelf:
    """A data set that is only its images."""

    surface = None

    def __init__(self, *, held_out: bool = True, **views: list[View]):
        self._views = views
        self.splits = tuple(views) if held_out else ()
        channels = next((view.target.shape[-1] for some in views.values() for view in some), 3)
        self.domain = Domain(task="image", aabb=Aabb.of([-1, -1], [1, 1]), out_dim=channels)

    def views(self, split: str) -> list[View]:
        return self._views.get(split, [])


def test_the_scores_of_a_split_are_those_asked_for_in_their_order():
    assert list(score_views(grey_trained(), grey_views(0.1), of(*USUAL))) == ["psnr", "ssim"]
    names = ("spectral_error", "psnr_unclipped")
    assert list(score_views(grey_trained(), grey_views(0.1), of(*names))) == list(names)
    found = scored("views", ["test"], names=("psnr_unclipped",), test=grey_views(0.1))
    assert list(found) == ["psnr_unclipped", "test_psnr_unclipped"]
    assert scored("image", ["test"], names=(), test=grey_views(0.1)) == {}


def test_a_metric_that_was_named_and_cannot_be_computed_is_explained_and_a_usual_one_is_left_out():
    small = View("small", SignalGrid.of((9, 10)), torch.full((90, 3), 0.5), None)
    dataset: Any = Shelf(test=[small], train=grey_views(0.1))
    assert why_not(of("psnr", "ssim"), dataset, ["test"], USUAL) == ""
    reason = "ssim needs images of 11 pixels a side or more, found 10x9. Leave it out"
    assert why_not(of("psnr", "ssim", "spectral_error"), dataset, ["train", "test"], USUAL) == reason
    assert why_not(of("psnr", "ssim", "spectral_error"), dataset, ["train", "val"], USUAL) == ""
    assert list(score_views(grey_trained(), [small], of(*USUAL))) == ["psnr"]
    assert score_views(grey_trained(), [small, *grey_views(0.0)], of("ssim"))["ssim"] == pytest.approx(1.0)


def scored(
    task: str,
    splits: Sequence[str],
    most: int | None = None,
    names: Sequence[str] = ("psnr", "ssim"),
    **images: list[View],
) -> dict[str, float]:
    dataset: Any = Shelf(held_out=task == "views", **images)
    return evaluate(grey_trained(task), dataset, splits, of(*names), most)


def test_held_out_splits_have_scores_of_their_own_and_the_first_names_the_plain_ones():
    found = scored("views", ["test", "train"], test=grey_views(0.1), train=grey_views(0.01))
    assert found["psnr"] == found["test_psnr"] == pytest.approx(20.0, abs=1e-2)
    assert found["train_psnr"] == pytest.approx(40.0, abs=1e-2)


def test_a_split_without_images_is_passed_over():
    found = scored("views", ["val", "test"], test=grey_views(0.1))
    assert found["psnr"] == pytest.approx(20.0, abs=1e-2)
    assert not any(name.startswith("val") for name in found)
    assert scored("views", ["val"]) == {}


def test_max_views_takes_images_evenly_from_first_to_last():
    images = grey_views(0.1, 0.3, 0.3, 0.3, 0.01)
    assert scored("image", ["test"], 2, test=images)["psnr"] == pytest.approx(30.0, abs=1e-2)
    assert scored("image", ["test"], 1, test=images)["psnr"] == pytest.approx(20.0, abs=1e-2)
    assert scored("image", ["test"], 9, test=images) == scored("image", ["test"], None, test=images)


# ------------------------------------------------------------------------------------------------------ solids


def within(found: float, expected: float, share_of_box: float) -> None:
    """Five standard deviations of a ratio counted on as many points as fall into the union."""
    n = metrics.IOU_POINTS * share_of_box
    assert found == pytest.approx(expected, abs=5 * math.sqrt(max(expected * (1 - expected), 1e-4) / n))


def test_iou_of_concentric_balls_is_the_ratio_of_their_volumes():
    share = 4 / 3 * math.pi * 1.5**3 / 64
    within(iou(ball(1.2), ball(1.5), BOX, 0), (1.2 / 1.5) ** 3, share)
    within(iou(ball(1.5), ball(1.2), BOX, 1), (1.2 / 1.5) ** 3, share)


def test_iou_of_shifted_balls_is_lens_over_union():
    r, d = 1.0, 0.7
    lens = math.pi * (4 * r + d) * (2 * r - d) ** 2 / 12
    union = 2 * 4 / 3 * math.pi * r**3 - lens
    within(iou(ball(r, -0.5 * d, 0.0, 0.0), ball(r, 0.5 * d, 0.0, 0.0), BOX, 0), lens / union, union / 64)


def test_iou_in_a_box_of_unequal_edges_counts_volume_not_cells():
    box = Aabb.of([-2.0, -1.0, -1.0], [2.0, 1.0, 1.0])
    share = 4 / 3 * math.pi * 0.9**3 / 16
    within(iou(ball(0.7), ball(0.9), box, 0), (0.7 / 0.9) ** 3, share)


def test_iou_of_the_same_solid_is_one_of_disjoint_ones_zero_of_two_empty_ones_one():
    left, right = ball(0.5, -1.0, 0.0, 0.0), ball(0.5, 1.0, 0.0, 0.0)
    assert iou(left, left, BOX, 0) == 1.0
    assert iou(left, right, BOX, 0) == 0.0
    assert iou(ball(-1.0), ball(-1.0), BOX, 0) == 1.0
    assert iou(ball(-1.0), left, BOX, 0) == 0.0


@pytest.mark.usefixtures("coarse")
def test_iou_of_a_field_with_a_mesh_is_that_of_the_balls_they_are():
    share = 4 / 3 * math.pi / 64
    found = iou(ball(0.8), ball_mesh(1.0), BOX, 0)
    assert found == pytest.approx(0.8**3, abs=0.01 + 5 * math.sqrt(0.25 / (metrics.IOU_POINTS * share)))


@pytest.mark.usefixtures("coarse")
def test_a_ball_agrees_with_the_mesh_of_the_same_ball():
    scores = score_surface(trained(ball(1.0)), ball_mesh(1.0))
    assert scores["iou"] > 0.985
    assert scores["chamfer"] < 0.1 / 48  # a tenth of a cell
    assert scores["normal_consistency"] > 0.995


@pytest.mark.usefixtures("coarse")
def test_chamfer_is_the_gap_between_surfaces_in_longest_edges_of_the_box():
    near, far = (score_surface(trained(ball(1.0 + gap)), ball_mesh(1.0))["chamfer"] for gap in (0.1, 0.3))
    assert near == pytest.approx(0.1 / 4.0, rel=0.03)
    assert far == pytest.approx(0.3 / 4.0, rel=0.03)


@pytest.mark.usefixtures("coarse")
def test_chamfer_does_not_depend_on_the_unit_of_length():
    large = Aabb(BOX.lower * 100, BOX.upper * 100)
    small, big = (
        score_surface(trained(ball(1.1 * scale), box), ball_mesh(scale)) for scale, box in ((1.0, BOX), (100.0, large))
    )
    assert big["chamfer"] == pytest.approx(small["chamfer"], rel=1e-2)
    assert big["iou"] == pytest.approx(small["iou"], rel=1e-2)


@pytest.mark.usefixtures("coarse")
def test_chamfer_is_the_mean_of_both_directions():
    # a second ball that the reference lacks: half of our points lie on it, all of the reference's are met
    r, d = 0.5, 2.4
    field = Balls(((-1.2, 0.0, 0.0), r), ((1.2, 0.0, 0.0), r))
    away = d + r**2 / (3 * d) - r  # mean distance of the second ball's surface from the first one's
    found = score_surface(trained(field), ball_mesh(r, -1.2, 0.0, 0.0))["chamfer"]
    assert found == pytest.approx(0.5 * (0.5 * away) / 4.0, rel=0.04)


@pytest.mark.usefixtures("coarse")
def test_a_field_without_a_surface_has_an_iou_and_no_distance():
    assert score_surface(trained(ball(-1.0)), ball_mesh(1.0)) == {"iou": 0.0}


@pytest.mark.usefixtures("coarse")
def test_scores_of_a_solid_come_out_the_same_twice():
    first, second = (score_surface(trained(ball(0.9)), ball_mesh(1.0)) for _ in range(2))
    assert first == second


@pytest.mark.usefixtures("coarse")
def test_a_data_set_with_a_solid_is_scored_by_it():
    field = trained(ball(1.0))
    dataset: Any = SimpleNamespace(views=lambda split: [], splits=(), surface=ball_mesh(1.0), domain=field.domain)
    found = evaluate(field, dataset, ["test"], of("psnr", *OF_SURFACES))
    assert set(found) == {"iou", "chamfer", "normal_consistency"}


def test_a_metric_of_surfaces_of_data_without_one_is_explained():
    dataset: Any = Shelf(test=grey_views(0.1))
    reason = "iou needs a reference surface, which this data set does not have. Leave it out"
    assert why_not(of("psnr", "iou"), dataset, ["test"], USUAL) == reason


def test_a_metric_of_images_of_data_without_them_is_explained():
    domain = trained(ball(1.0)).domain
    dataset: Any = SimpleNamespace(views=lambda split: [], splits=(), surface=ball_mesh(1.0), domain=domain)
    reason = "psnr needs images or signals, which this data set does not have. Leave it out"
    assert why_not(of("iou", "psnr"), dataset, ["test"], OF_SURFACES) == reason
