"""What a result keeps of its photograph: measures that owe nothing to how it was made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

__all__ = ["Levels", "chroma_change", "finest", "inside", "levels", "steepness"]

Levels = NDArray[np.float64]
"""(H, W, 3), from 0 to 255."""


def levels(image: Image.Image) -> Levels:
    """The values of a picture."""
    return np.asarray(image.convert("RGB"), dtype=np.float64)


def steepness(levels: NDArray[np.floating[Any]]) -> float:
    """The mean gradient of the lightness."""
    return float(np.hypot(*np.gradient(levels.mean(axis=2))).mean())


def inside(made: Levels) -> NDArray[np.bool_]:
    """Where no channel ends at black or white, (H, W)."""
    return np.asarray(((made > 0) & (made < 255)).all(axis=2))


def finest(made: Levels, source: Levels) -> tuple[Levels, Levels]:
    """By what the finest detail of a result differs where nothing is clipped, (n, 3), and that of
    the source. It is what a Gaussian of one pixel takes away."""
    fine = [levels - gaussian_filter(levels, (1, 1, 0)) for levels in (source, made)]
    return (fine[1] - fine[0])[inside(made)], fine[0]


def chroma_change(made: Levels, source: Levels) -> Levels:
    """By how many levels Cb and Cr differ where nothing is clipped, (n, 2)."""
    before, after = (
        np.asarray(Image.fromarray(one.astype(np.uint8)).convert("YCbCr"), dtype=float)[..., 1:]
        for one in (source, made)
    )
    change: Levels = np.abs(after - before)[inside(made)]
    return change
