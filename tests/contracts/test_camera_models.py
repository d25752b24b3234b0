"""What every installed camera model promises: there and back to the pixel, gradients, and a stated failure."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fieldengine.cameras.camera import Camera, Cameras
from fieldengine.cameras.paths import look_at
from fieldengine.cameras.restore import camera_model
from fieldengine.errors import PluginError
from fieldengine.kinds.camera import check_round_trip
from fieldengine.plugins.registry import Registry

REGISTRY = Registry()
MODELS = REGISTRY.names("cameras")
# lenses as calibrations of real ones give them; the first number counts most
LENSES = {
    "opencv": [
        (0.0,) * 8,
        (-0.28, 0.07, 2e-4, -3e-4, 0.0, 0.0, 0.0, 0.0),
        (0.12, -0.25, 1e-3, 5e-4, 0.14, 0.0, 0.0, 0.0),
        (8.1, 4.2, 1e-4, -1e-4, 0.3, 8.4, 6.9, 1.4),
    ],
    "opencv_fisheye": [(0.0,) * 4, (-0.013, 0.02, -0.015, 0.003), (0.08, -0.01, 0.002, -0.0003)],
}
HEIGHT, WIDTH, FOCAL = 3000, 4000, 3200.0
CASES = [(name, lens) for name in MODELS for lens in LENSES.get(name, [()])]


def model_of(name: str) -> Any:
    return camera_model(name, REGISTRY)


def camera(name: str, lens: tuple[float, ...], focal: float = FOCAL, **changes: Any) -> Camera:
    eye, target, up = torch.tensor([2.0, -3.0, 1.5]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])
    parts = {"height": HEIGHT, "width": WIDTH, "fx": focal, "fy": 1.01 * focal, "cx": 2010.0, "cy": 1490.0, **changes}
    return Camera((), **parts, name=name, parameters=lens, model=model_of(name)).at(look_at(eye, target, up))


def places(n: int = 4000) -> tuple[Tensor, Tensor]:
    """Columns and rows all over the image, its corners among them."""
    x, y = torch.rand(2, n, generator=torch.Generator().manual_seed(0))
    x[:4], y[:4] = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    return x * WIDTH, y * HEIGHT


@pytest.mark.parametrize("name", MODELS)
def test_without_distortion_a_place_comes_back(name: str):
    check_round_trip(model_of(name))


@pytest.mark.parametrize(("name", "lens"), CASES)
def test_a_pixel_comes_back_to_less_than_a_ten_thousandth(name: str, lens: tuple[float, ...]):
    """In float64, so that it is the model that is judged; in float32 a pixel of 4000 has 2e-4 of rounding alone."""
    model, (x, y) = model_of(name), places()
    plane = torch.stack([(x.double() - 2010) / FOCAL, (y.double() - 1490) / FOCAL], dim=-1)
    parameters = torch.tensor([lens], dtype=torch.float64).expand(len(plane), -1)
    origins, directions = model.unproject(plane, parameters)
    distance = torch.linspace(0.5, 50, len(plane), dtype=torch.float64)[:, None]
    back = model.project((0.0 if origins is None else origins) + distance * directions, parameters)
    assert float((back - plane).abs().max()) * FOCAL < 1e-4


@pytest.mark.parametrize(("name", "lens"), CASES)
def test_rays_of_a_camera_are_seen_where_they_began(name: str, lens: tuple[float, ...]):
    cameras, (x, y) = Cameras.of([camera(name, lens)]), places()
    index = torch.zeros(len(x), dtype=torch.int64)
    rays = cameras.rays(index, x, y)
    torch.testing.assert_close(rays.viewdirs.norm(dim=-1), torch.ones(len(x)))
    for distance in (0.5, 10.0):
        u, v = cameras.project(index, rays.origins + distance * rays.viewdirs)
        assert float(torch.maximum((u - x).abs(), (v - y).abs()).max()) < 2e-2


@pytest.mark.parametrize(("name", "lens"), CASES)
def test_one_camera_and_all_of_a_data_set_make_the_same_rays(name: str, lens: tuple[float, ...]):
    one, other = camera(name, lens), camera(name, lens, focal=1500.0, height=30, width=50, cx=24.0, cy=16.0)
    pixels = torch.arange(0, 30 * 50, 7)
    both = Cameras.of([one, other])
    x, y = (pixels % 50).float() + 0.5, torch.div(pixels, 50, rounding_mode="floor").float() + 0.5
    rays, alone = both.rays(torch.ones_like(pixels), x, y), other.items(pixels)
    torch.testing.assert_close(rays.viewdirs, alone.viewdirs)
    torch.testing.assert_close(rays.origins, alone.origins)
    assert torch.equal(rays.camera_indices, torch.ones_like(pixels))  # pyright: ignore[reportArgumentType]
    assert alone.camera_indices is None, "a view that is no training image"


@pytest.mark.parametrize(("name", "lens"), CASES)
def test_rays_carry_gradient_to_poses_lenses_and_distortion(name: str, lens: tuple[float, ...]):
    model = model_of(name)
    generator = torch.Generator().manual_seed(1)
    plane = (torch.rand(5, 2, generator=generator, dtype=torch.float64) - 0.5).requires_grad_()
    parameters = torch.tensor([lens] * 5, dtype=torch.float64).requires_grad_(bool(lens))

    def unit(plane: Tensor, parameters: Tensor) -> Tensor:
        origins, directions = model.unproject(plane, parameters)
        return directions + (0.0 if origins is None else origins)

    assert torch.autograd.gradcheck(unit, (plane, parameters), eps=1e-6, atol=1e-5)
    poses = Cameras.of([camera(name, lens)]).poses.clone().requires_grad_()
    cameras = Cameras.of([camera(name, lens)] * 2)
    moved = Cameras(poses.expand(2, 3, 4), cameras.lenses, cameras.parameters, cameras.sizes, cameras.model)
    rays = moved.rays(torch.tensor([0, 1]), torch.tensor([10.0, 20.0]), torch.tensor([10.0, 900.0]))
    (rays.viewdirs[:, 0].sum() + rays.origins.sum()).backward()
    assert poses.grad is not None
    assert poses.grad.abs().min() >= 0
    assert poses.grad[0, :, 3].abs().min() > 0


def opencv_by_hand(u: float, v: float, lens: tuple[float, ...]) -> tuple[float, float]:
    k1, k2, p1, p2, k3, k4, k5, k6 = lens
    r = u * u + v * v
    a = (1 + k1 * r + k2 * r**2 + k3 * r**3) / (1 + k4 * r + k5 * r**2 + k6 * r**3)
    return a * u + 2 * p1 * u * v + p2 * (r + 2 * u * u), a * v + p1 * (r + 2 * v * v) + 2 * p2 * u * v


def fisheye_by_hand(u: float, v: float, lens: tuple[float, ...]) -> tuple[float, float]:
    r = math.hypot(u, v)
    theta = math.atan(r)
    bent = theta * (1 + sum(k * theta ** (2 * i + 2) for i, k in enumerate(lens)))
    return bent / r * u, bent / r * v


@pytest.mark.parametrize(("name", "by_hand"), [("opencv", opencv_by_hand), ("opencv_fisheye", fisheye_by_hand)])
def test_a_lens_bends_as_opencv_says(name: str, by_hand: Callable[..., tuple[float, float]]):
    for lens in LENSES[name]:
        for u, v in ((0.1, -0.2), (0.5, 0.4), (-0.6, 0.01)):
            point = torch.tensor([[3 * u, 3 * v, 3.0]], dtype=torch.float64)
            found = model_of(name).project(point, torch.tensor([lens], dtype=torch.float64))
            assert found[0].tolist() == pytest.approx(by_hand(u, v, lens), rel=1e-12)


def test_a_fisheye_sees_beside_and_behind():
    angles = torch.tensor([0.0, 0.5, math.pi / 2, 2.5], dtype=torch.float64)
    plane = torch.stack([angles, torch.zeros_like(angles)], dim=-1)
    _, directions = model_of("opencv_fisheye").unproject(plane, torch.zeros(4, 4, dtype=torch.float64))
    torch.testing.assert_close(torch.atan2(directions[:, 0], directions[:, 2]), angles)


def test_rays_of_an_orthographic_camera_are_parallel_and_as_far_apart_as_its_pixels():
    view = camera("orthographic", (), focal=20.0, height=6, width=8, cx=4.0, cy=3.0)
    rays = view.items(torch.arange(48))
    assert float((rays.viewdirs - rays.viewdirs[0]).abs().max()) == 0.0
    apart = rays.origins.view(6, 8, 3)
    torch.testing.assert_close((apart[:, 1:] - apart[:, :-1]).norm(dim=-1), torch.full((6, 7), 1 / 20))
    torch.testing.assert_close((apart[1:] - apart[:-1]).norm(dim=-1), torch.full((5, 8), 1 / 20.2))


@pytest.mark.parametrize(("name", "lens"), [("opencv", (-0.9, *(0.0,) * 7)), ("opencv_fisheye", (-0.9, 0.0, 0.0, 0.0))])
def test_a_lens_that_folds_the_image_over_is_refused_by_its_numbers(name: str, lens: tuple[float, ...]):
    cameras = Cameras.of([camera(name, (0.0,) * len(lens)), camera(name, lens)])
    with pytest.raises(ValueError, match=r"camera 1: its distortion \(-0\.9, .*\) folds the image over; the place at"):
        cameras.refuse_folded_lenses()
    corner = cameras.rays(torch.tensor([1]), torch.tensor([0.0]), torch.tensor([0.0])).viewdirs
    assert bool(corner.isnan().all())


@pytest.mark.parametrize(("name", "lens"), CASES)
def test_lenses_of_real_cameras_are_not_refused(name: str, lens: tuple[float, ...]):
    Cameras.of([camera(name, lens)]).refuse_folded_lenses()


def test_cameras_of_two_models_are_refused_by_name():
    with pytest.raises(ValueError, match="opencv, pinhole"):
        Cameras.of([camera("pinhole", ()), camera("opencv", (0.0,) * 8)])


BROKEN = """
    from dataclasses import dataclass
    from typing import ClassVar

    import torch


    @dataclass(frozen=True)
    class Flat:
        n_parameters: ClassVar[int] = 0

        def project(self, points, parameters):
            return points[:, :2] / points[:, 2:]

        def unproject(self, plane, parameters):
            return None, plane


    @dataclass(frozen=True)
    class Lost(Flat):
        def unproject(self, plane, parameters):
            return None, torch.cat([plane, 0.5 + 0 * plane[:, :1]], dim=-1)


    @dataclass(frozen=True)
    class Countless:
        n_parameters = "none"

        def project(self, points, parameters): ...
        def unproject(self, plane, parameters): ...


    @dataclass(frozen=True)
    class Renamed(Flat):
        def unproject(self, pixels, parameters): ...
"""


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        ("Flat", r"expected unproject to return directions \(3, 3\), found float32 of shape \(3, 2\)"),
        ("Lost", r"expected project\(unproject\(x\)\) to be x without distortion; it is off by"),
        ("Countless", "has no n_parameters, which cameras need"),
        ("Renamed", "asks for pixels and does not take plane; the engine offers plane, parameters"),
    ],
)
def test_a_broken_model_is_named_with_what_was_expected(cls: str, said: str, install: Any, tmp_path: Path):
    install(BROKEN, {"cameras/odd": cls})
    with pytest.raises(PluginError, match=said):
        check_round_trip(camera_model("odd", Registry()))
