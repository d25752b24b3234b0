"""fieldengine: neural fields from one scene file.

run = fieldengine.train("scene.yaml", {"training.steps": 500})
run = fieldengine.load("runs/scene")
run.field(points), run.metrics
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldengine.fitting import train as train
    from fieldengine.run import Run as Run
    from fieldengine.run import load as load

__all__ = ["Run", "load", "train"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; the command line's help and error messages do not wait for it
    if name == "train":
        from fieldengine.fitting import train

        return train
    if name in ("Run", "load"):
        from fieldengine import run

        return getattr(run, name)
    raise AttributeError(f"module 'fieldengine' has no attribute {name!r}")
