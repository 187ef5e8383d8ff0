"""Memory that a command frees stays with it, unless its environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FREED_AND_TAKEN = """
import ctypes
import resource
import torch
from diffaug.cli.allocator import keep_freed_memory

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would be one fault
keep_freed_memory()
for _ in range(10):
    torch.ones(7 << 20)  # 28 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(4 << 20)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults * resource.getpagesize() // 4096)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told")
@pytest.mark.parametrize(("told", "kept"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "0"}, False)])
def test_pages_are_used_again(told: dict[str, str], kept: bool) -> None:
    """Ten times 16 MiB are 40,960 pages of 4 kB, each a fault the first time it is touched."""
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", FREED_AND_TAKEN],
        env=environment | told,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert (int(done.stdout) < 8_000) == kept, done.stdout
