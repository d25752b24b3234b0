"""LPIPS, and whether it can be computed here: its network comes with torchvision and a file, neither with us.

torchmetrics brings the weights of the comparison. Those of the network are looked for where torch.hub keeps them;
nothing is ever downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from fieldengine.metrics.shown import shown, too_small

WEIGHTS = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
SOURCE = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class LpipsAlex:
    """Distance between AlexNet's features (Zhang et al. 2018), 0 for equal images; grey counts as three colours."""

    needs: ClassVar[str] = "image"
    higher_is_better: ClassVar[bool] = False

    def score(self, values: Tensor, target: Tensor) -> float:
        return score_lpips(values, target, "alex")

    def obstacle(self, shape: Sequence[int], channels: int) -> str:
        return too_small(shape, 31) or not_of_a_screen(channels) or obstacle("alex")


@dataclass(frozen=True)
class LpipsVgg:
    """Distance between the features of VGG-16 (Zhang et al. 2018), 0 for equal images; grey counts as three colours."""

    needs: ClassVar[str] = "image"
    higher_is_better: ClassVar[bool] = False

    def score(self, values: Tensor, target: Tensor) -> float:
        return score_lpips(values, target, "vgg")

    def obstacle(self, shape: Sequence[int], channels: int) -> str:
        return too_small(shape, 16) or not_of_a_screen(channels) or obstacle("vgg")


def score_lpips(values: Tensor, target: Tensor, network: str) -> float:
    """Distance between a network's features of images (h, w, c), clipped to [0, 1]."""
    a, b = (2 * shown(image).expand(-1, 3, -1, -1) - 1 for image in (values, target))
    return distance(a, b, network)


def not_of_a_screen(channels: int) -> str:
    """Why a network cannot look at images of so many channels; empty where it can."""
    if channels in (1, 3):
        return ""
    return f"needs grey or coloured images, found {channels} channels. Set dataset.background, or leave it out"


def obstacle(network: str) -> str:
    """Why LPIPS with this network cannot be computed and what to do about it; empty where it can be."""
    absent = lacking(network)
    if absent:
        return absent
    try:
        load(network)
    except Exception as reason:  # a damaged file can fail in any way
        return f"cannot use {weights_file(network)}: {_first_sentence(reason)}. Download it again from {SOURCE}"
    return ""


def lacking(network: str) -> str:
    """What LPIPS with this network lacks, as advice; empty where all of it is there. Reads no weights."""
    advice = []
    try:
        import torchvision  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        advice.append(f"install the torchvision that goes with torch {torch.__version__}")
    except Exception as reason:  # one that was made for another torch fails in its own ways
        found = f"found one that says: {_first_sentence(reason)}"
        advice.append(f"install the torchvision that goes with torch {torch.__version__} ({found})")
    file = weights_file(network)
    if not file.is_file():
        advice.append(f"put {SOURCE}/{file.name} into {file.parent}")
    return f"needs a network that is not here: {', and '.join(advice)}" if advice else ""


def weights_file(network: str) -> Path:
    """Where torchvision looks for the network's weights before it would download them."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS[network]


@cache
def load(network: str) -> Any:
    """The comparison as a module, (n, 3, h, w) twice in [-1, 1] -> (n, 1, 1, 1). Kept, for reading it takes a while."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    chosen: Any = network
    return LearnedPerceptualImagePatchSimilarity(net_type=chosen).net


def distance(a: Tensor, b: Tensor, network: str) -> float:
    """LPIPS of two images (1, 3, h, w) in [-1, 1]."""
    return float(load(network)(a, b))


def _first_sentence(reason: Exception) -> str:
    """Of what went wrong, without its full stop: a message of ours is one line."""
    return (str(reason) or type(reason).__name__).partition("\n")[0].partition(". ")[0].rstrip(".")
