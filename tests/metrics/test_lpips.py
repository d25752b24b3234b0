"""LPIPS with stand-ins for torchvision and its weights: what is lacking is said, nothing is fetched."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchmetrics.functional.image.lpips
import torchmetrics.image.lpip
from torch import Tensor, nn

from fieldengine.metrics import lpips
from fieldengine.metrics.lpips import LpipsAlex, LpipsVgg, score_lpips

FILE = "alexnet-owt-7be5be79.pth"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder where torch.hub looks for weights, and no torchvision."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    load = lpips.load
    load.cache_clear()
    yield tmp_path / "hub" / "checkpoints"
    load.cache_clear()


def features() -> nn.Sequential:
    """The layers of AlexNet that see images."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip


@pytest.fixture
def torchvision(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A torchvision with AlexNet, and the file of its weights."""
    file = home / FILE
    file.parent.mkdir(parents=True)
    torch.save(features().state_dict(), file)

    def alexnet(weights: Any) -> Any:
        found = features()
        assert weights == "trained"
        found.load_state_dict(torch.load(file))
        return SimpleNamespace(features=found)

    models = SimpleNamespace(alexnet=alexnet, AlexNet_Weights=SimpleNamespace(DEFAULT="trained"))
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    for module in (torchmetrics.image.lpip, torchmetrics.functional.image.lpips):
        monkeypatch.setattr(module, "_TORCHVISION_AVAILABLE", True)
    return file


def test_what_is_lacking_is_said_with_its_source_and_place(home: Path):
    assert LpipsAlex().obstacle((32, 32), 3) == (
        f"needs a network that is not here: install the torchvision that goes with torch {torch.__version__}, and put "
        f"https://download.pytorch.org/models/{FILE} into {home}"
    )
    assert "vgg16-397923af.pth" in LpipsVgg().obstacle((32, 32), 3)


def test_without_the_file_no_network_is_asked_for_which_would_download_it(
    torchvision: Path, monkeypatch: pytest.MonkeyPatch
):
    torchvision.unlink()
    monkeypatch.setattr(lpips, "load", lambda network: pytest.fail("would download"))
    assert LpipsAlex().obstacle((32, 32), 3) == (
        f"needs a network that is not here: put https://download.pytorch.org/models/{FILE} into {torchvision.parent}"
    )


def test_a_torchvision_of_another_torch_is_said_to_be_one(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator nms does not exist. See\\nall this')")
    monkeypatch.delitem(sys.modules, "torchvision")
    monkeypatch.syspath_prepend(tmp_path)
    assert f"{torch.__version__} (found one that says: operator nms does not exist), and" in lpips.lacking("alex")


def test_a_damaged_file_is_refused_by_name(torchvision: Path):
    torchvision.write_bytes(torchvision.read_bytes()[:9999])
    message = LpipsAlex().obstacle((32, 32), 3)
    assert message.startswith(f"cannot use {torchvision}: ")
    assert message.endswith(". Download it again from https://download.pytorch.org/models")
    assert "\n" not in message


def test_lpips_is_zero_for_the_image_itself_and_grows_with_noise(torchvision: Path):
    random = torch.Generator().manual_seed(0)
    target = torch.rand(31, 40, 3, generator=random)
    noise = torch.randn(31, 40, 3, generator=random)
    assert LpipsAlex().obstacle((31, 40), 3) == ""
    same, near, far = (LpipsAlex().score(target + scale * noise, target) for scale in (0, 0.05, 0.5))
    assert 0.0 == same < near < far
    assert "31 pixels" in LpipsAlex().obstacle((30, 40), 3)


def test_images_are_clipped_and_stretched_to_minus_one_and_one_and_grey_becomes_colour(
    monkeypatch: pytest.MonkeyPatch,
):
    def network(a: Tensor, b: Tensor) -> Tensor:
        assert a.shape == b.shape == (1, 3, 1, 4)
        assert a[0, 2, 0].tolist() == [-1.0, -1.0, 0.0, 1.0]
        return (a - b).abs().mean()

    monkeypatch.setattr(lpips, "load", lambda name: network)
    values = torch.tensor([-3.0, 0.0, 0.5, 7.0]).view(1, 4, 1)
    assert score_lpips(values, torch.ones(1, 4, 1), "alex") == pytest.approx((2 + 2 + 1 + 0) / 4)


def test_transparent_images_are_refused_in_words():
    for channels in (2, 4):
        assert LpipsAlex().obstacle((64, 64), channels) == (
            f"needs grey or coloured images, found {channels} channels. Set dataset.background, or leave it out"
        )
