"""Cameras and grids of points: which ray or place belongs to a pixel, and what resizing keeps."""

from __future__ import annotations

import json
import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from fieldengine.cameras.camera import Camera
from fieldengine.cameras.grid import SignalGrid
from fieldengine.cameras.restore import restore
from fieldengine.plugins.registry import Registry
from fieldengine.types import Points, Rays

REGISTRY = Registry()
UNMOVED = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))
# turned by 90 degrees about y: the camera looks along -x, its right is -z; it stands at (7, 8, 9)
TURNED = ((0.0, 0.0, 1.0, 7.0), (0.0, 1.0, 0.0, 8.0), (-1.0, 0.0, 0.0, 9.0))


def camera(pose=UNMOVED, height: int = 5, width: int = 7, focal: float = 4.0) -> Camera:
    return Camera(pose, height, width, fx=focal, fy=focal, cx=width / 2, cy=height / 2)


def all_items(grid) -> Rays | Points:
    return grid.items(torch.arange(math.prod(grid.shape)))


def positions(grid: SignalGrid) -> Tensor:
    return all_items(grid).positions.view(*grid.shape, 2)


# ---------------------------------------------------------------------------------------------------------- cameras


def test_the_ray_of_the_central_pixel_looks_along_minus_z():
    rays = all_items(camera())
    torch.testing.assert_close(rays.viewdirs[2 * 7 + 3], torch.tensor([0.0, 0.0, -1.0]))


def test_columns_go_right_and_rows_go_down():
    directions = all_items(camera()).viewdirs.view(5, 7, 3)
    slopes = directions[..., :2] / -directions[..., 2:]
    assert (slopes[:, 1:, 0] > slopes[:, :-1, 0]).all()  # x grows along a row
    assert (slopes[1:, :, 1] < slopes[:-1, :, 1]).all()  # y falls from row to row


def test_a_ray_goes_through_the_middle_of_its_pixel():
    lens = Camera(UNMOVED, height=4, width=6, fx=3.0, fy=5.0, cx=2.0, cy=1.5)
    direction = lens.items(torch.tensor([1 * 6 + 4])).viewdirs[0]  # row 1, column 4
    assert float(direction[0] / -direction[2]) == pytest.approx((4.5 - 2.0) / 3.0)
    assert float(direction[1] / -direction[2]) == pytest.approx((1.5 - 1.5) / 5.0)
    direction = lens.items(torch.tensor([3 * 6 + 0])).viewdirs[0]  # row 3, column 0
    assert float(direction[0] / -direction[2]) == pytest.approx((0.5 - 2.0) / 3.0)
    assert float(direction[1] / -direction[2]) == pytest.approx(-(3.5 - 1.5) / 5.0)


def test_directions_are_unit():
    lengths = torch.linalg.vector_norm(all_items(camera(TURNED, focal=1.0)).viewdirs, dim=-1)
    torch.testing.assert_close(lengths, torch.ones(35))


def test_the_pose_maps_camera_to_world():
    rays = all_items(camera(TURNED))
    assert torch.equal(rays.origins, torch.tensor([7.0, 8.0, 9.0]).expand(35, 3))
    torch.testing.assert_close(rays.viewdirs[2 * 7 + 3], torch.tensor([-1.0, 0.0, 0.0]))
    assert float(rays.viewdirs[2 * 7 + 6, 2]) < 0  # the right edge of the image lies towards -z
    assert float(rays.viewdirs[0 * 7 + 3, 1]) > 0  # its top towards +y


def test_at_moves_the_lens_elsewhere():
    pose = torch.tensor(TURNED)
    for form in (pose, torch.cat([pose, torch.tensor([[0.0, 0, 0, 1]])])):
        moved = camera().at(form)
        assert moved == camera(TURNED)


def edges(lens: Camera) -> tuple[float, float, float, float]:
    """Slopes of the image's left, right, top and bottom edge."""
    return (-lens.cx / lens.fx, (lens.width - lens.cx) / lens.fx, lens.cy / lens.fy, (lens.cy - lens.height) / lens.fy)


def test_resized_keeps_the_field_of_view():
    lens = Camera(UNMOVED, height=10, width=16, fx=9.0, fy=11.0, cx=7.0, cy=4.0)
    for factor in (0.5, 2, 3.5):
        resized = lens.resized(int(10 * factor), int(16 * factor))
        assert edges(resized) == pytest.approx(edges(lens))
        assert (resized.height, resized.width) == (int(10 * factor), int(16 * factor))


def test_resized_to_another_shape_keeps_the_height_square_pixels_and_the_middle():
    lens = camera(height=10, width=16)
    wide = lens.resized(20, 60)
    left, right, top, bottom = edges(wide)
    assert (top, bottom) == pytest.approx(edges(lens)[2:])
    assert wide.fx == wide.fy == 2 * lens.fx
    assert left == pytest.approx(-right)


def test_half_size_pixels_look_along_the_mean_of_the_four_they_replace():
    lens = Camera(UNMOVED, height=4, width=6, fx=5.0, fy=5.0, cx=3.0, cy=2.0)

    def slopes(grid: Camera) -> Tensor:
        directions = all_items(grid).viewdirs.view(grid.height, grid.width, 3)
        return directions[..., :2] / -directions[..., 2:]

    fine = slopes(lens).view(2, 2, 3, 2, 2).mean(dim=(1, 3))
    torch.testing.assert_close(slopes(lens.resized(2, 3)), fine)


# ------------------------------------------------------------------------------------------------------------ grids


def test_corners_puts_the_outermost_pixels_at_minus_one_and_one():
    found = positions(SignalGrid.of((5, 8), "corners"))
    rows, columns = torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 8)
    torch.testing.assert_close(found, torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1))


def test_centres_puts_the_edges_of_the_image_at_minus_one_and_one():
    found = positions(SignalGrid.of((4, 5), "centres"))
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(found[0, :, 1], torch.tensor([-0.8, -0.4, 0.0, 0.4, 0.8]))


@pytest.mark.parametrize(("rows", "columns"), [(5, 9), (9, 5)])
def test_isotropic_spans_the_longer_side_and_keeps_the_spacing_on_the_shorter(rows: int, columns: int):
    found = positions(SignalGrid.of((rows, columns), "isotropic"))
    row, column = found[:, 0, 0], found[0, :, 1]
    longer, shorter = (row, column) if rows > columns else (column, row)
    torch.testing.assert_close(longer, torch.linspace(-1, 1, 9))
    torch.testing.assert_close(shorter, torch.linspace(-0.5, 0.5, 5))


Placement = Literal["corners", "centres", "isotropic"]


@pytest.mark.parametrize("placement", ["corners", "centres", "isotropic"])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_finer_grid_averages_to_the_original_in_the_interior(placement: Placement, factor: int):
    grid = SignalGrid.of((6, 9), placement)
    fine = positions(grid.resized(6 * factor, 9 * factor)).view(6, factor, 9, factor, 2).mean(dim=(1, 3))
    torch.testing.assert_close(fine[1:-1, 1:-1], positions(grid)[1:-1, 1:-1])


@pytest.mark.parametrize("placement", ["corners", "centres", "isotropic"])
@pytest.mark.parametrize("factor", [0.5, 1, 2, 7])
def test_positions_never_leave_the_box(placement: Placement, factor: float):
    found = positions(SignalGrid.of((6, 8), placement).resized(int(6 * factor), int(8 * factor)))
    assert found.abs().max() <= 1


def test_a_grid_resized_and_resized_back_is_the_same():
    grid = SignalGrid.of((6, 9), "corners")
    assert grid.resized(50, 3).resized(6, 9) == grid


def test_neighbouring_pixels_of_a_large_image_keep_their_distance():
    side = 1 << 14
    grid = SignalGrid.of((side, side), "corners")
    last = torch.tensor([side * side - 2, side * side - 1])
    found = grid.items(last).positions
    assert float(found[1, 1] - found[0, 1]) == pytest.approx(2 / (side - 1), rel=1e-2)
    assert found[1].tolist() == [1, 1]


# --------------------------------------------------------------------------------------------------------- restore


@pytest.mark.parametrize("grid", [camera(TURNED), SignalGrid((3, 4), (6, 8), "isotropic")])
def test_a_sensor_comes_back_from_its_description_in_json(grid):
    assert restore(json.loads(json.dumps(grid.describe())), REGISTRY) == grid


def test_an_unknown_kind_of_sensor_is_refused():
    with pytest.raises(ValueError, match="pinhole"):
        restore({"kind": "pinhole"}, REGISTRY)
    with pytest.raises(ValueError, match="None"):
        restore({}, REGISTRY)


def test_a_horizontal_field_of_view_of_ninety_degrees_reaches_45_degrees_to_each_side():
    lens = camera(height=100, width=100, focal=50.0)
    row = all_items(lens).viewdirs.view(100, 100, 3)[50]
    angles = torch.atan2(row[:, 0], -row[:, 2])
    assert float(angles[-1]) == pytest.approx(math.atan(49.5 / 50), abs=1e-4)
    assert float(angles[0]) == pytest.approx(-math.atan(49.5 / 50), abs=1e-4)
