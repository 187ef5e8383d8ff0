"""Enlarging what a model changed, guided by the photograph that it belongs to.

Plain enlargement spills the change of one large pixel over the edges of objects, and shows what the
model drew as a ghost or a stain. Here the change is enlarged by a guided filter with the picture's
colour as the guide [1], worked out on a small grid [2]. In each window, the change p is taken for
an affine function of the colour I, fitted by ridge regression:

    p = a . I + b,    a = (cov(I, I) + epsilon)^-1 cov(I, p),    b = mean(p) - a . mean(I)

and a pixel is given what its own colour makes of the means of a and b over the windows around it.
So a change ends where the object does, and what has nothing to do with the picture is left out.

[1] He, Sun & Tang 2013, "Guided Image Filtering", https://doi.org/10.1109/TPAMI.2012.213
[2] He & Sun 2015, "Fast Guided Filter", https://arxiv.org/abs/1505.00996
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import uniform_filter

__all__ = ["Plane", "Planes", "lifted"]

_GRID = 2
"""Samples of the small grid for each pixel of the model, along an axis."""

_WINDOW = 6
"""Radius of a window, in pixels of the model, where these cover at least four pixels of the
picture. Nearer to the model's size it shrinks to nothing, as does the detail that it missed."""

_EPSILON = 0.01
"""Below this variance of a channel, which reaches from 0 to 1, a window counts as flat."""

_NEAREST = Image.Resampling.NEAREST

_SMOOTH = 0.375
"""The guide is the mean of the pixels within so many pixels of the model, which hides grain."""

Plane = NDArray[np.float32]
Planes = NDArray[np.float32]


def lifted(
    change: Planes, picture: Image.Image, weight: Plane | None = None
) -> Iterator[tuple[slice, Planes]]:
    """Enlarge a change to the size of the picture, some rows after another.

    Args:
        change: float32 (C, H, W) at the model's size, in any unit; one of the picture's own size
            stays unchanged.
        picture: L or RGB.
        weight: float32 (H, W), 0 where the change counts for nothing; None: everywhere 1.

    Yields:
        which rows of the picture, and for these float32 (C, rows, width of the picture).
    """
    size, (height, width) = picture.size, change.shape[1:]
    if size == (width, height):
        yield slice(None), change
        return
    scale = max(size[0] / width, size[1] / height)
    grid = (min(size[0], _GRID * width), min(size[1], _GRID * height))
    reach = _WINDOW * min(1.0, max(0.0, math.log2(scale) / 2))
    window = [1 + 2 * round(reach * grid[n] / (width, height)[n]) for n in (1, 0)]
    box = _Box(window, None if weight is None else _resized(weight, grid, _NEAREST))
    smooth = picture.filter(ImageFilter.BoxBlur(_SMOOTH * scale))
    guide = np.asarray(smooth).reshape(*size[::-1], -1)
    small = np.asarray(smooth.resize(grid), dtype=np.float32).reshape(*grid[::-1], -1)
    fitted = _fitted(change, list(small.transpose(2, 0, 1) / 255), box)
    wide = _along(fitted, size[0])
    above, below, nearer = _between(grid[1], size[1])
    begins = np.flatnonzero(np.diff(above, prepend=-1)).tolist()
    for begin, end in zip(begins, [*begins[1:], size[1]], strict=True):
        upper = wide[:, :, above[begin], None]
        further = wide[:, :, below[begin], None] - upper
        down = nearer[begin:end, None]
        found = upper[-1] + further[-1] * down
        seen = guide[begin:end].transpose(2, 0, 1) / np.float32(255)
        for number, band in enumerate(seen):
            slope = further[number] * down
            slope += upper[number]
            slope *= band
            found += slope
        yield slice(begin, end), found


class _Box:
    """The weighted mean of each window, with the picture's edge repeated; 0 where nothing counts.

    Args:
        window: height and width, odd.
        weight: of each value; None: 1.
    """

    def __init__(self, window: list[int], weight: Plane | None) -> None:
        self._window = window
        self._weight: Plane | np.float32 = np.float32(1)
        self._total: Plane | np.float32 = np.float32(1)
        if weight is not None:
            self._weight, self._total = weight, self._mean(weight).clip(1e-6)

    def __call__(self, plane: Plane) -> Plane:
        return self._mean(self._weight * plane) / self._total

    def _mean(self, plane: Plane) -> Plane:
        found: Plane = uniform_filter(plane, self._window, mode="nearest")
        return found


def _fitted(change: Planes, guide: list[Plane], box: _Box) -> NDArray[np.float32]:
    """What each pixel makes of its own colour: the means of a, then of b, over the windows.

    Args:
        change: (C, H, W).
        guide: each channel on the small grid, in [0, 1].
        box: takes the means.

    Returns:
        (channels of the guide + 1, C, height, width) on the small grid.
    """
    means = [box(i) for i in guide]
    inverse = _inverse(_covariance(guide, means, box))
    grid = guide[0].shape[::-1]
    found = np.empty((len(guide) + 1, len(change), *guide[0].shape), dtype=np.float32)
    for channel, plane in enumerate(change):
        p = _resized(plane, grid)
        mean = box(p)
        against = [box(i * p) - m * mean for i, m in zip(guide, means, strict=True)]
        slopes = [_dot(row, against) for row in inverse]
        for number, one in enumerate([*slopes, mean - _dot(slopes, means)]):
            found[number, channel] = box(one)
    return found


def _covariance(small: list[Plane], means: list[Plane], box: _Box) -> NDArray[np.float32]:
    """The guide's in each window, plus epsilon: positive definite, (n, n, H, W)."""
    count = len(small)
    found = np.empty((count, count, *small[0].shape), dtype=np.float32)
    for i in range(count):
        for j in range(i, count):
            found[i, j] = found[j, i] = box(small[i] * small[j]) - means[i] * means[j]
        found[i, i] += np.float32(_EPSILON)
    return found


def _inverse(matrices: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of positive definite matrices (n, n, H, W), by Gauss-Jordan elimination without pivots."""
    count = len(matrices)
    unit = np.zeros_like(matrices)
    unit[np.arange(count), np.arange(count)] = 1
    work = np.concatenate([matrices, unit], axis=1)
    for k in range(count):
        work[k] /= work[k, k].copy()
        for other in set(range(count)) - {k}:
            work[other] -= work[other, k].copy() * work[k]
    return work[:, count:]


def _dot(one: NDArray[np.float32] | list[Plane], other: list[Plane]) -> Plane:
    """The sum of products, plane by plane."""
    found: Plane = one[0] * other[0]
    for a, b in zip(one[1:], other[1:], strict=True):
        found = found + a * b
    return found


def _along(planes: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Planes (..., H, W) at another width, linear between the centres of pixels."""
    left, right, nearer = _between(planes.shape[-1], width)
    columns = np.ascontiguousarray(np.moveaxis(planes, -1, 0))  # whole ones are faster to copy
    found = columns[right] - columns[left]
    found *= nearer.reshape(-1, *[1] * (planes.ndim - 1))
    found += columns[left]
    return np.ascontiguousarray(np.moveaxis(found, 0, -1))


def _between(count: int, fine: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Plane]:
    """For each of `fine` pixels, which two of `count` it is between, and how far from the first."""
    at = ((np.arange(fine) + 0.5) * (count / fine) - 0.5).clip(0, count - 1)
    first = at.astype(np.intp)
    return first, np.minimum(first + 1, count - 1), (at - first).astype(np.float32)


def _resized(
    plane: Plane, size: tuple[int, int], filter: Image.Resampling = Image.Resampling.BICUBIC
) -> Plane:
    """A plane at another (width, height), in float."""
    return np.array(Image.fromarray(plane).resize(size, filter), dtype=np.float32)
