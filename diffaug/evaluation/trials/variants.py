"""Variants of labelled images, drawn while a classifier trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from diffaug.evaluation.images.corruptions import Images
from diffaug.evaluation.images.pool import Places

__all__ = ["TrivialAugment", "Variants", "flips_and_crops"]


class Variants(Protocol):
    """A source of variants of the labelled images, such as a `Pool`."""

    def draw(self, places: Places, random: np.random.Generator) -> tuple[Places, Images]:
        """One variant of the image at each place, and the places whose variants they are."""
        ...


def flips_and_crops(images: Images, random: np.random.Generator) -> Images:
    """Flip half of the images, and shift each by up to a fourteenth of its size over black."""
    count, height, width, _ = images.shape
    down, right = height // 14, width // 14
    padded = np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    top, left = random.integers(0, 2 * down + 1, count), random.integers(0, 2 * right + 1, count)
    moved: Images = windows[np.arange(count), top, left].transpose(0, 2, 3, 1).copy()
    flipped = random.random(count) < 0.5
    moved[flipped] = moved[flipped, :, ::-1]
    return moved


@dataclass(frozen=True, slots=True)
class TrivialAugment:
    """One random operation of random strength per image (TrivialAugment, Müller & Hutter 2021).

    Attributes:
        images: uint8 (N, H, W, C), the labelled ones.
    """

    images: Images

    def draw(self, places: Places, random: np.random.Generator) -> tuple[Places, Images]:
        """A new variant of the image at each place; the places are as given."""
        made = np.empty((len(places), *self.images.shape[1:]), dtype=np.uint8)
        for row, place in enumerate(places):
            image = Image.fromarray(self.images[place].squeeze())
            operation = _OPERATIONS[random.integers(len(_OPERATIONS))]
            changed = operation(image, float(random.random()), random.random() < 0.5)
            made[row] = np.asarray(changed).reshape(made.shape[1:])
        return places, made


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, m, less: kind(image).enhance(1 - 0.99 * m if less else 1 + 0.99 * m)


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


Operation = Callable[[Image.Image, float, bool], Image.Image]
"""Takes an image, a strength in [0, 1), and which of two directions."""

_OPERATIONS: list[Operation] = [
    lambda image, m, way: image,
    lambda image, m, way: ImageOps.autocontrast(image),
    lambda image, m, way: ImageOps.equalize(image),
    lambda image, m, way: ImageOps.posterize(image, 8 - round(6 * m)),
    lambda image, m, way: ImageOps.solarize(image, 256 - round(256 * m)),
    lambda image, m, way: image.rotate(135 * m if way else -135 * m),
    lambda image, m, way: _affine(image, (1, 0.99 * m if way else -0.99 * m, 0, 0, 1, 0)),
    lambda image, m, way: _affine(image, (1, 0, 0, 0.99 * m if way else -0.99 * m, 1, 0)),
    lambda image, m, way: _affine(image, (1, 0, (m if way else -m) * image.width, 0, 1, 0)),
    lambda image, m, way: _affine(image, (1, 0, 0, 0, 1, (m if way else -m) * image.height)),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Sharpness),
    _enhance(ImageEnhance.Color),
]
