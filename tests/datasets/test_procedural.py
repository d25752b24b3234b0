"""The analytic scene: its distances are distances, its images show what the distances say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fieldengine.datasets import procedural
from fieldengine.datasets.multiview import MultiviewDataset
from fieldengine.datasets.procedural import EXTENT, Procedural, distance
from fieldengine.types import RunContext

SOLIDS = {
    "ring": procedural._ring, "ball": procedural._ball, "block": procedural._block, "floor": procedural._floor,
    "scene": lambda x: distance(x)[0],
}  # fmt: skip


def scattered(n: int, seed: int = 0) -> Tensor:
    return (torch.rand(n, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * EXTENT


@pytest.fixture(scope="module")
def dataset() -> MultiviewDataset:
    made = RunContext(torch.device("cpu"), torch.Generator().manual_seed(0), 0)
    return Procedural(views=3, test_views=2, size=32).build(context=made)


@pytest.mark.parametrize("name", SOLIDS)
def test_a_distance_never_changes_faster_than_the_way_walked(name: str):
    sdf = SOLIDS[name]
    a = scattered(20000).double()
    way = torch.randn(20000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    b = a + way * torch.logspace(-4, 0, 20000, dtype=torch.float64)[:, None]
    walked = torch.linalg.vector_norm(b - a, dim=1)
    assert ((sdf(b) - sdf(a)).abs() <= walked * (1 + 1e-6) + 1e-6).all()


@pytest.mark.parametrize("name", SOLIDS)
def test_walking_the_distance_straight_outward_or_inward_ends_on_the_surface(name: str):
    """So the distance is not only a bound: its gradient is a unit vector that points along the way."""
    sdf = SOLIDS[name]
    x = scattered(4000, 2).double().requires_grad_()
    d = sdf(x)
    (gradient,) = torch.autograd.grad(d.sum(), x)
    # inside, the nearest face changes along the medial axis, and of joined solids only the outside is exact
    outside = (d > 0.02).detach()
    assert outside.sum() > 2000
    landed = (x - d[:, None] * gradient).detach()[outside]
    assert (sdf(landed).abs() < 1e-4).float().mean() > 0.995


def test_the_ball_has_its_closed_form_and_the_ring_is_thick_around_its_circle():
    x = scattered(1000, 3)
    to_centre = torch.linalg.vector_norm(x - torch.tensor([0.0, 0.0, 0.12]), dim=1)
    torch.testing.assert_close(SOLIDS["ball"](x), to_centre - 0.30, atol=1e-6, rtol=0)
    angle = torch.linspace(0, 2 * math.pi, 50)
    circle = torch.stack([0.55 * angle.cos(), 0.55 * angle.sin(), torch.full_like(angle, -0.17)], dim=1)
    torch.testing.assert_close(SOLIDS["ring"](circle), torch.full((50,), -0.14), atol=1e-5, rtol=0)


def test_the_scene_is_the_union_of_its_solids_and_names_the_nearest_one():
    x = scattered(5000, 4)
    each = torch.stack([SOLIDS[name](x) for name in ("ring", "ball", "block", "floor")])
    d, nearest = distance(x)
    assert torch.equal(d, each.min(dim=0).values)
    assert torch.equal(each.gather(0, nearest[None])[0], d)
    assert set(nearest.tolist()) == {0, 1, 2, 3}


def test_the_whole_scene_lies_inside_its_box():
    edge = scattered(20000, 5)
    axis = torch.arange(20000) % 3
    edge[torch.arange(20000), axis] = edge[torch.arange(20000), axis].sign() * EXTENT
    assert (distance(edge)[0] > 0).all()


def test_the_images_show_the_silhouette_of_the_distances(dataset: MultiviewDataset):
    """Against a dense walk along each pixel's middle ray; pixels that the outline may cross are left out."""
    decided = 0
    for split in ("train", "test"):
        images = dataset._by_split[split].images
        for camera, image in zip(dataset._by_split[split].cameras, images, strict=True):
            rays = camera.items(torch.arange(camera.height * camera.width))
            t = torch.linspace(1.2, 5.2, 800)
            along = rays.origins[:, None] + t[None, :, None] * rays.viewdirs[:, None]
            depth = distance(along.view(-1, 3))[0].view(len(rays), -1).amin(1)
            # within a pixel, rays lie at most half its diagonal apart where the scene is
            reach = 0.75 * math.sqrt(2) * 5.2 / camera.fx / 2 + 0.01
            alpha = image.reshape(-1, 4)[:, 3]
            hit, miss = depth < -reach, depth > reach
            assert (alpha[hit] == 255).all()
            assert (alpha[miss] == 0).all()
            assert hit.any()
            assert miss.any()
            decided += int(hit.sum() + miss.sum())
    assert decided > 0.5 * 5 * 32 * 32


def test_the_images_are_premultiplied_and_empty_where_nothing_is(dataset: MultiviewDataset):
    images = torch.stack(dataset._by_split["train"].images).int()
    assert (images[..., :3] <= images[..., 3:] + 1).all()
    assert (images[images[..., 3] == 0][:, :3] == 0).all()


def test_the_ball_is_seen_in_its_own_colour_from_above(dataset: MultiviewDataset):
    view = dataset.views("train")[-1]
    middle = view.target.view(32, 32, 3)[13:17, 13:17].reshape(-1, 3)
    red, green, blue = middle.mean(0).tolist()
    assert blue > green > red


def test_every_camera_looks_at_the_middle_of_the_scene_from_the_same_distance(dataset: MultiviewDataset):
    for split in ("train", "test"):
        for view in dataset.views(split):
            pose = torch.tensor(view.grid.pose)
            to_centre = torch.tensor([0.0, 0.0, -0.05]) - pose[:, 3]
            torch.testing.assert_close(torch.linalg.vector_norm(to_centre), torch.tensor(3.2), atol=1e-5, rtol=0)
            torch.testing.assert_close(-pose[:, 2], to_centre / 3.2, atol=1e-5, rtol=0)
            assert pose[2, 1] > 0, "up in the image is up in the scene"


def test_no_test_image_is_a_training_image(dataset: MultiviewDataset):
    train = [torch.tensor(view.grid.pose)[:, 3] for view in dataset.views("train")]
    for view in dataset.views("test"):
        eye = torch.tensor(view.grid.pose)[:, 3]
        assert min(float(torch.linalg.vector_norm(eye - other)) for other in train) > 0.05


def test_the_same_options_give_the_same_bits_whatever_the_seed():
    def images(seed: int) -> Tensor:
        made = RunContext(torch.device("cpu"), torch.Generator().manual_seed(seed), seed)
        return torch.stack(Procedural(views=2, test_views=1, size=16).build(context=made)._by_split["train"].images)

    assert torch.equal(images(0), images(1))


def test_views_and_size_are_as_asked(dataset: MultiviewDataset):
    assert (len(dataset.views("train")), len(dataset.views("test")), list(dataset.views("val"))) == (3, 2, [])
    assert dataset.n_items == 3 * 32 * 32
    assert dataset.random_background
