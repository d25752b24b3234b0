"""`fieldengine schema`."""

from __future__ import annotations

import json

from fieldengine.cli.app import app


@app.command()
def schema() -> None:
    """Print the JSON Schema of scene files with the installed plugins, for editors to complete and check scenes."""
    from fieldengine.config.scene import scene_schema
    from fieldengine.plugins.registry import Registry

    print(json.dumps(scene_schema(Registry()), indent=2))  # noqa: T201 - for other programs
