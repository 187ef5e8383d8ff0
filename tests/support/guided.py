"""The guided filter of He, Sun and Tang (2013), solved window by window in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

__all__ = ["guided", "resized"]

Floats = NDArray[np.floating[Any]]

GRID, WINDOW, EPSILON, SMOOTH = 2, 6, 0.01, 0.375


def guided(image: Image.Image, change: Floats) -> Floats:
    """A change (C, h, w) at the size of a picture at least four times as large, (H, W, C).

    Grey or in colour, the picture is the guide. Each window's ridge regression is solved by itself,
    on a grid of two samples for each pixel of the change.
    """
    _, height, width = change.shape
    scale = max(image.width / width, image.height / height)
    grid, radius = (GRID * width, GRID * height), GRID * WINDOW
    smooth = image.filter(ImageFilter.BoxBlur(SMOOTH * scale))
    full, small = (
        np.asarray(one, dtype=np.float64).reshape(one.height, one.width, -1) / 255
        for one in (smooth, smooth.resize(grid))
    )
    p = np.stack([resized(plane, grid) for plane in change], axis=-1)
    count = small.shape[2]
    found = np.empty((*small.shape[:2], count + 1, len(change)))
    for y in range(grid[1]):
        for x in range(grid[0]):
            i, q = _window(small, y, x, radius), _window(p, y, x, radius)
            away = i - i.mean(axis=0)
            ridge = away.T @ away / len(i) + EPSILON * np.eye(count)
            a = np.linalg.solve(ridge, away.T @ (q - q.mean(axis=0)) / len(i))
            found[y, x] = [*a, q.mean(axis=0) - i.mean(axis=0) @ a]
    means = np.empty_like(found)
    for y in range(grid[1]):
        for x in range(grid[0]):
            means[y, x] = _window(found, y, x, radius).mean(axis=0)
    planes = means.reshape(*means.shape[:2], -1).transpose(2, 0, 1)
    fine = np.stack([resized(plane, image.size, Image.Resampling.BILINEAR) for plane in planes])
    *slopes, level = fine.reshape(count + 1, len(change), *full.shape[:2])
    result: Floats = level + sum(a * full[..., i] for i, a in enumerate(slopes))
    return result.transpose(1, 2, 0)


def resized(
    plane: Floats, size: tuple[int, int], filter: Image.Resampling = Image.Resampling.BICUBIC
) -> Floats:
    """A plane at another (width, height)."""
    image = Image.fromarray(plane.astype(np.float32)).resize(size, filter)
    return np.asarray(image, dtype=np.float64)


def _window(values: Floats, y: int, x: int, radius: int) -> Floats:
    """The values around a place, with the border repeated: (n, ...)."""
    rows, columns = (np.arange(at - radius, at + radius + 1) for at in (y, x))
    height, width = values.shape[:2]
    found: Floats = values[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
    return found.reshape(-1, *values.shape[2:])
