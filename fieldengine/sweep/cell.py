"""One cell of a sweep in a process of its own: `python -m fieldengine.sweep.cell SCENE FOLDER DEVICE`.

Two processes never write one folder: each holds a lock while it trains. A process whose sweep is gone ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import threading
import time
from pathlib import Path

from fieldengine.errors import FieldEngineError
from fieldengine.sweep.state import ERROR, is_done


def main(scene: Path, folder: Path, device: str) -> int:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with folder.with_suffix(folder.suffix + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_done(folder):
            return 0
        started = any((folder / "checkpoints").glob("*"))
        if folder.exists() and not started:
            shutil.rmtree(folder)  # of a run that was stopped before its first checkpoint
        try:
            from fieldengine.runs.train import train

            run = train(scene, out=folder, resume=started, device=device)
        except FieldEngineError as reason:
            print(f"{ERROR}{reason}", file=sys.stderr)  # noqa: T201 - the sweep reads it
            return reason.exit_code
        return 130 if run.status == "interrupted" else 0


def _end_with(sweep: int) -> None:
    while os.getppid() == sweep:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
