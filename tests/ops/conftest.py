"""Every test of this folder runs twice: on the kernels for the CPU, and on the reference alone."""

from __future__ import annotations

import pytest

from fieldengine.ops.backends import REFERENCE, SWITCH


@pytest.fixture(autouse=True, params=["numba", REFERENCE])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(SWITCH, request.param)
    return request.param
