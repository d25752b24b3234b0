"""docs/reference.md says what the plugins' docstrings say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fieldengine.plugins.registry import OWN_DISTRIBUTION, Plugin, Registry

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
SPEC = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
assert SPEC is not None
assert SPEC.loader is not None
REFERENCE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(REFERENCE)

# a plugin that is new need not be on the page before `make docs` puts it there; one that is must be told right
TOLD = [plugin for plugin in Registry() if plugin.distribution == OWN_DISTRIBUTION and f"### {plugin.name}\n" in PAGE]


@pytest.mark.parametrize("plugin", TOLD, ids=lambda plugin: f"{plugin.kind}/{plugin.name}")
def test_a_plugin_is_told_as_its_docstring_tells_it(plugin: Plugin):
    assert REFERENCE.section(plugin) in PAGE, "run `make docs`"


def test_most_are_told():
    assert len(TOLD) > 30
