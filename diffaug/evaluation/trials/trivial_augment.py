"""TrivialAugment (Müller & Hutter 2021, https://arxiv.org/abs/2103.10158), many images at once.

Each operation gives what Pillow's does, within a level where Pillow rounds otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffaug.evaluation.images.corruptions import Images

__all__ = ["OPERATIONS", "Operation", "away_from", "trivial_augment"]

Strengths = NDArray[np.float64]
"""(N,), in [0, 1)."""

Ways = NDArray[np.bool_]
"""(N,), which of two directions an operation takes."""

Operation = Callable[[Images, Strengths, Ways], NDArray[np.uint8]]
"""Takes uint8 images (N, H, W, C), C 1 or 3, each with a strength and a direction of its own."""

_Floats = NDArray[np.float32]


def trivial_augment(images: Images, random: np.random.Generator) -> Images:
    """One random operation of random strength per image."""
    count, made = len(images), images.copy()
    chosen = random.integers(len(OPERATIONS), size=count)
    strengths, ways = random.random(count), random.random(count) < 0.5
    for number, operation in enumerate(OPERATIONS.values()):
        here = np.flatnonzero(chosen == number)
        if len(here):
            made[here] = operation(images[here], strengths[here], ways[here])
    return made


def _identity(images: Images, strengths: Strengths, ways: Ways) -> Images:
    return images


def _autocontrast(images: Images, strengths: Strengths, ways: Ways) -> Images:
    planes = _planes(images)
    low, high = planes.min(axis=1)[:, None].astype(np.float64), planes.max(axis=1)[:, None]
    table = ((_SHADES - low) * (255 / np.maximum(high - low, 1))).clip(0, 255)
    return _mapped(images, np.where(high > low, table, _SHADES))


def _equalize(images: Images, strengths: Strengths, ways: Ways) -> Images:
    planes = _planes(images)
    counts = np.stack([np.bincount(plane, minlength=256) for plane in planes])
    steps = (planes.shape[1] - counts[np.arange(len(planes)), planes.max(axis=1)]) // 255
    before = np.cumsum(counts, axis=1) - counts
    table = (steps[:, None] // 2 + before) // np.maximum(steps, 1)[:, None]
    table[steps == 0] = _SHADES  # too few shades to spread
    return _mapped(images, np.minimum(table, 255))


def _posterize(images: Images, strengths: Strengths, ways: Ways) -> Images:
    lost = np.rint(6 * strengths).astype(np.uint8)
    kept: Images = images & _each(np.uint8(255) << lost)
    return kept


def _solarize(images: Images, strengths: Strengths, ways: Ways) -> Images:
    limits = 256 - np.rint(256 * strengths)[:, None, None]
    table = np.where(limits > _SHADES, _SHADES, 255 - _SHADES)
    return _mapped(images, np.broadcast_to(table, (len(images), images.shape[3], 256)))


def _rotate(images: Images, strengths: Strengths, ways: Ways) -> Images:
    _, height, width, _ = images.shape
    angle = np.deg2rad(_signed(135 * strengths, ways))
    cosine, sine, x, y = np.cos(angle), np.sin(angle), width / 2, height / 2
    across = (cosine, -sine, x - cosine * x + sine * y)
    return _moved(images, across, (sine, cosine, y - sine * x - cosine * y))


def _shear_x(images: Images, strengths: Strengths, ways: Ways) -> Images:
    return _moved(images, (1, _signed(0.99 * strengths, ways), 0), (0, 1, 0))


def _shear_y(images: Images, strengths: Strengths, ways: Ways) -> Images:
    return _moved(images, (1, 0, 0), (_signed(0.99 * strengths, ways), 1, 0))


def _translate_x(images: Images, strengths: Strengths, ways: Ways) -> Images:
    return _moved(images, (1, 0, _signed(strengths * images.shape[2], ways)), (0, 1, 0))


def _translate_y(images: Images, strengths: Strengths, ways: Ways) -> Images:
    return _moved(images, (1, 0, 0), (0, 1, _signed(strengths * images.shape[1], ways)))


def _brightness(images: Images, strengths: Strengths, ways: Ways) -> Images:
    return _from(np.zeros(1, np.float32), images, strengths, ways)


def _contrast(images: Images, strengths: Strengths, ways: Ways) -> Images:
    mean = np.floor(_lightness(images).mean((1, 2, 3), keepdims=True, dtype=np.float64) + 0.5)
    return _from(mean.astype(np.float32), images, strengths, ways)


def _sharpness(images: Images, strengths: Strengths, ways: Ways) -> Images:
    x = images.astype(np.float32)
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    smooth = x.copy()  # so is the border
    inside = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * x[:, 1:-1, 1:-1]
    smooth[:, 1:-1, 1:-1] = np.floor(inside / 13 + 0.5)
    return _from(smooth, images, strengths, ways)


def _color(images: Images, strengths: Strengths, ways: Ways) -> Images:
    return _from(_lightness(images), images, strengths, ways)


OPERATIONS: dict[str, Operation] = {
    "identity": _identity,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "solarize": _solarize,
    "rotate": _rotate,
    "shear-x": _shear_x,
    "shear-y": _shear_y,
    "translate-x": _translate_x,
    "translate-y": _translate_y,
    "brightness": _brightness,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "color": _color,
}
"""The operations, by the names of the paper."""


def _planes(images: Images) -> Images:
    """(N C, H W)."""
    count, _, _, channels = images.shape
    return np.moveaxis(images, 3, 1).reshape(count * channels, -1)


def _mapped(images: Images, table: NDArray[np.generic]) -> Images:
    """Images whose shades are replaced: 256 values for each channel of each image."""
    count, _, _, channels = images.shape
    begins = 256 * np.arange(count * channels, dtype=np.int32).reshape(count, 1, 1, channels)
    return table.astype(np.uint8).ravel()[begins + images]


_SHADES = np.arange(256)


def _each(values: NDArray[Any]) -> NDArray[Any]:
    """One value an image (N,), as (N, 1, 1, 1)."""
    return values[:, None, None, None]


def _signed(values: Strengths, ways: Ways) -> Strengths:
    return np.where(ways, values, -values)


def _lightness(images: Images) -> _Floats:
    """(N, H, W, 1), whole numbers."""
    if images.shape[3] == 1:
        return images.astype(np.float32)
    weighted = images.astype(np.int32) @ np.array([19595, 38470, 7471], dtype=np.int32)
    return ((weighted + 0x8000) >> 16).astype(np.float32)[..., None]


def _from(plain: _Floats, images: Images, strengths: Strengths, ways: Ways) -> Images:
    """Nearer to an image without what an operation enhances, or further from it."""
    factor = np.where(ways, 1 - 0.99 * strengths, 1 + 0.99 * strengths).astype(np.float32)
    x = images.astype(np.float32)
    away_from(plain, _each(factor), x)
    return x.astype(np.uint8)


def away_from(plain: _Floats, factor: _Floats, x: _Floats) -> None:
    """Change images x (N, H, W, C), in place: nearer to what lacks something of them, where the
    factor is below 1, or further from it; within 0 and 255.

    Args:
        plain: what lacks it, of a shape that can be broadcast to that of x; so is the factor's.
        factor: 0 makes x what is plain, and 1 leaves it.
        x: the images.
    """
    x -= plain
    x *= factor
    x += plain
    np.clip(x, 0, 255, out=x)


def _moved(
    images: Images, across: tuple[float | Strengths, ...], down: tuple[float | Strengths, ...]
) -> Images:
    """Images whose pixels come from other places, the nearest ones; black from outside.

    Args:
        images: as given.
        across: a, b, c: the pixel with its centre at (x, y) comes from the column a x + b y + c.
        down: likewise, the row.
    """
    count, height, width, channels = images.shape
    y, x = (np.arange(side, dtype=np.float32) + 0.5 for side in (height, width))

    def place(terms: tuple[float | Strengths, ...], side: int) -> NDArray[np.int32]:
        """Where pixels come from, counted from 1; 0 and side + 1 are outside."""
        a, b, c = (np.broadcast_to(term, count).astype(np.float32) for term in terms)
        found = (a[:, None] * x + c[:, None] + 1)[:, None, :] + (b[:, None] * y)[:, :, None]
        return found.clip(0, side + 1, out=found).astype(np.int32)

    framed = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    index = place(down, height) + (height + 2) * np.arange(count, dtype=np.int32)[:, None, None]
    index *= width + 2
    index += place(across, width)
    pixels = framed.reshape(-1, channels).view(f"V{channels}").ravel()
    found: Images = pixels.take(index).view(np.uint8).reshape(images.shape)
    return found
