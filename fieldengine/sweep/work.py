"""Run the cells of a sweep in worker processes, those that are missing only; a cell that fails stops no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from fieldengine.config import document
from fieldengine.config.scene import differences
from fieldengine.errors import RunError
from fieldengine.export.files import atomic
from fieldengine.sweep.plan import Cell, Sweep
from fieldengine.sweep.state import ERROR, is_done, summary_of

OnProgress = Callable[[Cell, str], None]


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: done, failed or interrupted, and why."""

    cell: Cell
    status: str
    reason: str = ""


class SweepFolder:
    """Where a sweep lies: `cells/NAME` are run folders, `scenes/NAME.yaml` what they run."""

    def __init__(self, path: Path):
        self.path = path

    def cell(self, cell: Cell) -> Path:
        return self.path / "cells" / cell.name

    def scene(self, cell: Cell) -> Path:
        return self.path / "scenes" / f"{cell.name}.yaml"

    def prepare(self, sweep: Sweep) -> None:
        """Write the cells' scenes.

        Raises RunError where a cell was run with other options, or nothing can be written.
        """
        for cell in sweep.cells:
            before = self.scene(cell)
            if before.exists():
                changed = differences(document.read(before).plain(), cell.config.plain)
                if changed:
                    key, (old, new) = next(iter(changed.items()))
                    raise RunError(
                        self.path,
                        f'holds the run "{cell.name}" with {key}: {old}; the sweep now has {new}. Choose another --out',
                    )
        try:
            for folder in ("cells", "scenes"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            for cell in sweep.cells:
                with atomic(self.scene(cell)) as file:
                    file.write_text(document.write(cell.config.plain), encoding="utf-8")
        except OSError as reason:
            raise RunError(self.path, f"cannot be written: {reason.strerror}. Choose another --out") from reason


def run_cells(sweep: Sweep, folder: SweepFolder, workers: int, device: str, on_progress: OnProgress) -> list[Outcome]:
    """Run what is missing, `workers` at once, and return how every cell ended, in the order of the sweep.

    `on_progress` hears of each cell as it starts and ends. Raises KeyboardInterrupt after the workers have ended.
    """
    running: set[subprocess.Popen[str]] = set()
    lock, stopping = threading.Lock(), threading.Event()

    def run(cell: Cell) -> Outcome:
        if is_done(folder.cell(cell)):
            return Outcome(cell, "done")
        with lock:
            if stopping.is_set():
                return Outcome(cell, "interrupted")
            on_progress(cell, "running")
            process = _start(folder.scene(cell), folder.cell(cell), device, workers)
            running.add(process)
        _, errors = process.communicate()
        running.discard(process)
        if process.returncode == 130 or stopping.is_set():
            return Outcome(cell, "interrupted")
        if is_done(folder.cell(cell)):
            return Outcome(cell, "done")
        _, said, message = errors.rpartition(ERROR)
        reason = summary_of(folder.cell(cell)).get("reason") or (said and " ".join(message.split()))
        return Outcome(cell, "failed", reason or f"its process ended with exit code {process.returncode}")

    ended: dict[str, Outcome] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(run, cell) for cell in sweep.cells]
        try:
            for future in as_completed(futures):
                outcome = future.result()
                ended[outcome.cell.name] = outcome
                on_progress(outcome.cell, outcome.status)
        except BaseException:
            with lock:
                stopping.set()
                for process in running:
                    process.send_signal(signal.SIGINT)  # each writes a checkpoint and ends
            raise
    return [ended[cell.name] for cell in sweep.cells]


def _start(scene: Path, folder: Path, device: str, workers: int) -> subprocess.Popen[str]:
    threads = max(1, (os.cpu_count() or 1) // workers)
    return subprocess.Popen(
        [sys.executable, "-m", "fieldengine.sweep.cell", str(scene), str(folder), device],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        start_new_session=True,  # Ctrl-C comes to the sweep, which passes it on once
    )
