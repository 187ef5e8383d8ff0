"""How the C library's allocator treats memory that a command frees."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT = 256 << 20
_MAPPED = 32 << 20  # the most that glibc takes


def keep_freed_memory() -> None:
    """Have glibc keep up to 256 MiB of freed memory, for the next feature maps.

    By default it hands every map above 128 kB back to the system and is given fresh pages for the
    next, some 7,000 a call of a small network, which takes up to a tenth of the call. Whoever sets
    MALLOC_TRIM_THRESHOLD_ in the environment has decided otherwise.
    """
    if sys.platform != "linux" or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED)
