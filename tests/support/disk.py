"""Disks that are full, within this process: no file may grow beyond a size."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["REASON", "full_disk"]

REASON = "File too large"
"""What the system says there, as "No space left on device" on a disk that is full."""


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let every write fail that would make a file larger than `size` bytes, whoever writes it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores the signal
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
