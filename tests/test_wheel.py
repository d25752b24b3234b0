"""A wheel holds every module: an ignored or forgotten folder would only be missed by those who install it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_a_wheel_holds_every_module_of_the_packages(tmp_path: Path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    packages = {ROOT / "fieldengine": ROOT, ROOT / "plugins" / "fieldengine_plugins": ROOT / "plugins"}
    there = {str(path.relative_to(base)) for package, base in packages.items() for path in package.rglob("*.py")}
    assert held == there
