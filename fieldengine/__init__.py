"""fieldengine: neural fields from one scene file.

run = fieldengine.train("scene.yaml", {"training.steps": 500})
run = fieldengine.load("runs/scene")
run.field(points), run.metrics
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldengine.runs.load import Run as Run
    from fieldengine.runs.load import load as load
    from fieldengine.runs.train import train as train

__all__ = ["Run", "load", "train"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; the command line's help and error messages do not wait for it
    if name == "train":
        from fieldengine.runs.train import train

        return train
    if name in ("Run", "load"):
        from fieldengine.runs import load

        return getattr(load, name)
    raise AttributeError(f"module 'fieldengine' has no attribute {name!r}")
