"""What every installed metric promises: a number, a direction that it keeps, a reason where it cannot be computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fieldengine
from fieldengine.errors import FieldEngineError
from fieldengine.kinds.metric import check_metric
from fieldengine.metrics import surface
from fieldengine.metrics.evaluate import InstalledMetrics, find_metrics
from fieldengine.metrics.surface import Comparison
from fieldengine.plugins.registry import Registry
from fieldengine.types import Aabb, Domain

REGISTRY = Registry()
NAMES = REGISTRY.names("metrics")
LPIPS = ("lpips_alex", "lpips_vgg")  # whose networks are not there
STRANGER = """
    from dataclasses import dataclass
    from typing import ClassVar


    @dataclass(frozen=True)
    class Worst:
        '''The largest error.'''

        needs: ClassVar[str] = "signal"
        higher_is_better: ClassVar[bool] = False

        factor: float = 1.0

        def score(self, values, target):
            return self.factor * float((values - target).abs().max())


    @dataclass(frozen=True)
    class Turned(Worst):
        higher_is_better: ClassVar[bool] = True


    @dataclass(frozen=True)
    class Dreams(Worst):
        needs: ClassVar[str] = "dreams"


    @dataclass(frozen=True)
    class Words(Worst):
        def score(self, values, target):
            return "good"


    @dataclass(frozen=True)
    class Fails(Worst):
        def score(self, values, target):
            return values.nothing


    @dataclass(frozen=True)
    class Asks(Worst):
        def score(self, values, truth):
            return 1.0


    @dataclass(frozen=True)
    class Undecided:
        needs: ClassVar[str] = "signal"

        def score(self, values, target):
            return 1.0
"""
PHOTO = """
dataset: {{type: image, path: {photo}}}
field: {{encoding: identity, activation: siren, width: 8}}
training: {{steps: 2}}
evaluation: {{metrics: [{metric}]}}
"""


def metric(name: str) -> Any:
    return find_metrics([name], REGISTRY)[0].metric


class Ball:
    """A ball as a field and as a reference."""

    def __init__(self, radius: float):
        self.radius = radius

    def sdf(self, x: Any) -> Any:
        return x.norm(dim=-1) - self.radius, x[:, :0]

    def inside(self, x: Any) -> Any:
        return x.norm(dim=-1) < self.radius

    def closest(self, x: Any) -> Any:
        return (x.norm(dim=-1) - self.radius).abs(), torch.nn.functional.normalize(x, dim=-1)

    def sample(self, n: int, seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        normals = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
        return self.radius * normals, normals


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Comparison]:
    for name, value in (("CHAMFER_RESOLUTION", 32), ("SURFACE_POINTS", 2000), ("IOU_POINTS", 20_000)):
        monkeypatch.setattr(surface, name, value)

    def build(radius: float) -> Comparison:
        domain = Domain("sdf", Aabb.of([-1.0] * 3, [1.0] * 3), out_dim=1)
        trained: Any = type("Trained", (), {"field": Ball(radius), "domain": domain, "renderer": None, "recipe": {}})()
        return Comparison(trained, Ball(0.6))

    return build


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LPIPS])
def test_it_keeps_its_direction(name: str, compared: Callable[[float], Comparison]):
    found = metric(name)
    check_metric(found)
    if found.needs == "surface":
        near, far = (found.score(comparison=compared(radius)) for radius in (0.6, 0.4))
        assert near >= far if found.higher_is_better else near < far


@pytest.mark.parametrize("name", NAMES)
def test_its_name_is_found_in_the_keys_of_scores(name: str):
    installed = InstalledMetrics(REGISTRY)
    for key in (name, f"test_{name}", f"hidden_{name}", f"val_observed_{name}"):
        assert installed.metric_of(key) == name
    assert installed.metric_of(f"odd_{name}") is None
    assert installed.higher_is_better(f"test_{name}") == metric(name).higher_is_better


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_needs(name: str):
    assert metric(name).needs in ("image", "signal", "surface")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LPIPS])
def test_grey_colour_and_transparent_images_have_scores(name: str):
    found = metric(name)
    if found.needs == "surface":
        return
    for channels in (1, 3, 4):
        target = torch.rand(180, 190, channels, generator=torch.Generator().manual_seed(channels))
        assert isinstance(found.score(0.9 * target, target), float)


def test_a_stranger_s_metric_is_computed_named_and_has_keys(
    install: Any, scene: Callable[[str], Path], photo: Path, tmp_path: Path
):
    install(STRANGER, {"metrics/worst": "Worst"})
    once = fieldengine.train(scene(PHOTO.format(photo=photo, metric="worst")), out=tmp_path / "a")
    twice = fieldengine.train(scene(PHOTO.format(photo=photo, metric="{type: worst, factor: 2}")), out=tmp_path / "b")
    assert set(once.metrics) == {"worst"}
    assert twice.metrics["worst"] == pytest.approx(2 * once.metrics["worst"])
    assert once.evaluate("test", ["worst", "psnr"]).keys() == {"worst", "psnr"}


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        ("Words", "expected score to return a number, found str"),
        ("Fails", r"failed in Fails.score with AttributeError: .*stranger_of_a_seam\.py:\d+"),
        ("Asks", "Asks.score asks for truth; the engine offers values, target, comparison"),
        ("Undecided", "has no higher_is_better, which metrics need"),
        ("Dreams", 'expected needs to be "image", "signal" or "surface", found \'dreams\''),
    ],
)
def test_a_broken_metric_is_named_with_what_was_expected(
    cls: str, said: str, install: Any, scene: Callable[[str], Path], photo: Path, tmp_path: Path
):
    install(STRANGER, {"metrics/odd": cls})
    with pytest.raises(FieldEngineError, match=rf'metrics plugin "odd" of stranger 1\.0: .*{said}'):
        fieldengine.train(scene(PHOTO.format(photo=photo, metric="odd")), out=tmp_path / "run")


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        ("Turned", "expected an equal image to score better than a noisy one; higher_is_better is True"),
    ],
)
def test_a_metric_that_does_not_keep_its_word_is_found_out(cls: str, said: str, install: Any):
    install(STRANGER, {"metrics/odd": cls})
    with pytest.raises(FieldEngineError, match=said):
        check_metric(find_metrics(["odd"], Registry())[0].metric)
