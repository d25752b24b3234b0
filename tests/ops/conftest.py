"""Every test of this folder runs twice: on the kernels that are taken by themselves, and on the reference alone."""

from __future__ import annotations

import pytest

from fieldengine.ops.twins import SWITCH


@pytest.fixture(autouse=True, params=["twin", "reference"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(SWITCH, request.param)
    return request.param
