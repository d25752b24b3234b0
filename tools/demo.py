"""The demo: train scenes/demo.yaml, then write a turntable video, images and a mesh, and say where they are."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def fieldengine(*arguments: str | Path) -> None:
    """Run one command as a user types it, and show it."""
    print(f"\n$ fieldengine {' '.join(map(str, arguments))}", flush=True)
    code = subprocess.run([sys.executable, "-m", "fieldengine", *map(str, arguments)], cwd=ROOT, check=False).returncode
    if code:
        sys.exit(f"demo: the command above failed with exit code {code}; its message says why")


def free_folder() -> Path:
    """runs/demo, or the next number that is free, so that no earlier run is touched."""
    number = 1
    while (folder := Path("runs") / ("demo" if number == 1 else f"demo-{number}")) and (ROOT / folder).exists():
        number += 1
    return folder


def main() -> None:
    started = time.perf_counter()
    run = free_folder()
    fieldengine("train", "scenes/demo.yaml", "--out", run)
    fieldengine("render", run, "--scale", "2", "--frames", "48", "--fps", "16")
    fieldengine("render", run, "--scale", "3", "--out", run / "images" / "image.png")
    fieldengine("export", "mesh", run, "--out", run / "mesh.ply", "--resolution", "160")
    print(f"\ndone in {time.perf_counter() - started:.0f} s. Look at")
    for name in ("images/orbit.mp4", "images/image.png", "mesh.ply", "summary.json"):
        print(f"  {run / name}")


if __name__ == "__main__":
    main()
