"""Memory that is freed is there for the next allocation."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from fieldengine.memory import peak_memory_mb

FAULTS = """
import resource, torch
from fieldengine.memory import keep_freed_memory
if {keep} and not keep_freed_memory(): raise SystemExit("no mallopt")
def step(): torch.empty(16 << 20).fill_(1.0)
for _ in range(20): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    """Pages that the system had to give while the same tensors were made ten times, in a process of their own."""
    done = subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=False)
    if "no mallopt" in done.stderr:
        pytest.skip("the C library here has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_the_same_tensors_take_the_same_memory_again():
    assert faults(keep=True) < 0.2 * faults(keep=False)


def test_the_peak_is_at_least_what_was_held():
    held = torch.ones(64 << 18)  # 64 MB
    peak = peak_memory_mb(torch.device("cpu"))
    assert peak is None or peak > 64
    assert held[-1] == 1
