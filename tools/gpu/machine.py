"""The machine and the software that the checks run on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch

from gpu.rows import Check, Plan, Row

# module -> package: what training needs besides torch and numpy
PACKAGES = {
    "numba": "numba",
    "pydantic": "pydantic",
    "ruamel.yaml": "ruamel.yaml",
    "typer": "typer",
    "rich": "rich",
    "imageio": "imageio",
    "trimesh": "trimesh",
    "igl": "libigl",
    "mapbox_earcut": "mapbox_earcut",
    "scipy": "scipy",
    "mcubes": "PyMCubes",
    "safetensors": "safetensors",
    "torchmetrics": "torchmetrics",
    "tifffile": "tifffile",
    "av": "av",
    "PIL": "pillow",
}

NOT_INSTALLED = "fieldengine is not installed: pip install --no-deps -e . (without network, with --no-build-isolation)"


def checks(plan: Plan) -> list[Check]:
    return [Check("software", lambda _: [software()]), Check("device", lambda _: [device(plan)])]


def software() -> Row:
    versions = {name: _version(name) for name in ("fieldengine", "torch", "triton", "numpy", "numba")}
    return Row("software", "measured", figures={"Python": platform.python_version(), **versions, **switches()})


def device(plan: Plan) -> Row:
    """The GPU, or the processor if that is what is checked."""
    cores = {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if plan.device == "cpu":
        return Row("device", "measured", figures={"card": "none (CPU)", **cores})
    free, total = torch.cuda.mem_get_info()
    card = torch.cuda.get_device_properties(torch.cuda.current_device())
    figures: dict[str, Any] = {
        "card": card.name,
        "compute capability": f"{card.major}.{card.minor}",
        "driver": _driver(),
        "CUDA": torch.version.cuda,
        "GB free": round(free / 2**30, 1),
        "GB": round(total / 2**30, 1),
        **cores,
    }
    return Row("device", "measured", figures=figures)


def switches() -> dict[str, str]:
    """The engine's environment variables that are set."""
    return {name: text for name, text in sorted(os.environ.items()) if name.startswith("FIELDENGINE_")}


def complaint() -> str:
    """In one line, what is missing for training and how to get it; empty if nothing is."""
    missing = [package for module, package in PACKAGES.items() if not _is_there(module)]
    parts = [f"missing: {' '.join(missing)}"] if missing else []
    if _version("fieldengine") is None:
        parts.insert(0, NOT_INSTALLED)
    return "; ".join(parts)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    return next(iter(done.stdout.split()), None) if done.returncode == 0 else None
