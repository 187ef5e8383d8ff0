"""Small pictures that tests of an evaluation share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["PIXELS", "pictures"]

PIXELS = [f"{place:064x}" for place in range(60)]
"""Digests of pixels, so far as anyone looks."""


def pictures(count: int = 6, channels: int = 1) -> NDArray[np.uint8]:
    """Smooth pictures with a black border, as photographs of things on black are."""
    random = np.random.default_rng(0)
    small = random.integers(40, 256, (count, 5, 5, channels)).astype(np.uint8)
    large = small.repeat(4, axis=1).repeat(4, axis=2)
    return np.pad(large, ((0, 0), (4, 4), (4, 4), (0, 0)))
