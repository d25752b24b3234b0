"""The types of the kinds tell a plugin that keeps its promises from one that does not, before anything runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PLUGINS = """
from dataclasses import dataclass

from torch import Generator, Tensor, nn

from fieldengine.api import Aabb, Encoding, EncodingOptions, RaySampler, Rays, Rendered, Renderer, Samples


class Renamed(nn.Module):
    def check(self, field: nn.Module, items: type) -> None: ...

    def render(
        self, field: nn.Module, items: Rays, *, background: Tensor | None, generator: Generator | None
    ) -> Rendered:
        return Rendered(items.origins)

    def affordable(self, wanted: int) -> int:
        return wanted

    def update(self, field: nn.Module, step: int, generator: Generator) -> None: ...


class Right(Renamed):
    def max_batch(self, wanted: int) -> int:
        return wanted


class WithoutLosses(nn.Module):
    def sample(self, rays: Rays, generator: Generator | None) -> Samples: ...
    def max_batch(self, wanted: int) -> int: ...
    def update(self, query: object, step: int, generator: Generator) -> None: ...


class Widthless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class Slots:
    encoding: EncodingOptions

    def build(self, *, aabb: Aabb) -> Renderer:
        self.encoding.build(in_dim=3).out_dim.bit_length()
        return Right()


def a_renderer() -> Renderer:
    return Renamed()  # wrong


def a_ray_sampler() -> RaySampler:
    return WithoutLosses()  # wrong


def an_encoding() -> Encoding:
    return Widthless()  # wrong


def a_slot(options: Slots) -> None:
    options.encoding.biuld(in_dim=3)  # wrong
"""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """What pyright says of the file above, by line from 1."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "plugins.py").write_text(PLUGINS)
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "--project",
        str(folder),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {one["range"]["start"]["line"] + 1: one["message"] for one in found if one["severity"] == "error"}


def test_every_wrong_plugin_is_found_and_no_right_one(complaints: dict[int, str]):
    wrong = {number for number, line in enumerate(PLUGINS.splitlines(), start=1) if line.endswith("# wrong")}
    assert set(complaints) == wrong, complaints


def test_what_is_missing_is_named(complaints: dict[int, str]):
    said = " ".join(complaints.values())
    for name in ("max_batch", "losses", "out_dim", "biuld"):
        assert name in said
