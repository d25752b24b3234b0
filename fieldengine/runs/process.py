"""What a run shares with all else in its process: threads, torch's settings, and signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from fieldengine.errors import FieldEngineError

ONE_PRESS = 0.5  # seconds within which signals are one: a terminal and a shell may both send it

_training = threading.RLock()
_worked_in: set[int] = set()


def refuse_fork() -> None:
    """Raise FieldEngineError in a fork of a process in which a field was trained or loaded.

    Of the threads that computed there a fork has none, and waits for them without end.
    """
    _worked_in.add(os.getpid())
    if len(_worked_in) > 1:
        raise FieldEngineError(
            "this process was forked from one that had trained or loaded a field, and lacks that one's threads. "
            'Start it with "spawn": multiprocessing.get_context("spawn")'
        )


@contextmanager
def one_training(waits: Callable[[str], None]) -> Iterator[None]:
    """Trainings in threads of one process come one after the other: random numbers and settings of torch are shared.

    Args:
        waits: is told where another one has to end first.
    """
    if not _training.acquire(blocking=False):
        waits("another training runs in this process; this one waits for it. Separate processes train at the same time")
        _training.acquire()
    try:
        yield
    finally:
        _training.release()


class Interruption:
    """Whether Ctrl-C or SIGTERM came.

    Attributes:
        patient: the first one is only noted; else, as the second one, it ends what is going on at once.
    """

    def __init__(self) -> None:
        self.patient = True
        self._came: float | None = None

    def __call__(self) -> bool:
        return self._came is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        now, before = time.monotonic(), self._came
        if before is not None and now - before < ONE_PRESS:
            return
        self._came = now
        if before is not None or not self.patient:
            raise KeyboardInterrupt


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Inside the block signals that ask for an end are handled by what is yielded."""
    found = Interruption()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield found
        return
    before = {number: signal.signal(number, found.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
