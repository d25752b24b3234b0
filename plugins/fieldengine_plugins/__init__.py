"""The methods that come with the engine.

Each file is one plugin and imports `fieldengine.api` and `fieldengine.ops` alone.
"""
