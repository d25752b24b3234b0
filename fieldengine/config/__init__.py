"""A scene file as data: YAML with lines, dataclasses as schemas, the blocks of a scene."""
