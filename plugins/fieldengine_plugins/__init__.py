"""The methods that come with the engine.

They import only `fieldengine.api`, `fieldengine.fields`, `fieldengine.ops` and `fieldengine.ntk`.
"""
