"""Variants of labelled images, drawn while a classifier trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from diffaug.evaluation.images.corruptions import Images, as_bytes
from diffaug.evaluation.images.pool import Places

__all__ = [
    "CHANGED",
    "Changed",
    "Labelled",
    "Variants",
    "flips_and_crops",
    "jitter",
    "trivial_augment",
]

_JITTER = 0.4, 0.1
"""How far brightness, contrast and saturation are changed, as a share, and hue, as one of a turn:
the strength that is usual for small images."""


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
class Labelled:
    """The labelled images themselves.

    Attributes:
        images: uint8 (N, H, W, C).
    """

    images: Images

    def draw(self, places: Places, random: np.random.Generator) -> tuple[Places, Images]:
        """The image at each place."""
        return places, self.images[places]


@dataclass(frozen=True, slots=True)
class Changed:
    """Variants that are changed at random whenever they are drawn.

    Attributes:
        variants: what is changed.
        changes: functions of images and a generator, applied in turn.
    """

    variants: Variants
    changes: Sequence[Callable[[Images, np.random.Generator], Images]]

    def draw(self, places: Places, random: np.random.Generator) -> tuple[Places, Images]:
        """One changed variant of the image at each place, and the places it is of."""
        places, images = self.variants.draw(places, random)
        for change in self.changes:
            images = change(images, random)
        return places, images


def trivial_augment(images: Images, random: np.random.Generator) -> Images:
    """One random operation of random strength per image (TrivialAugment, Müller & Hutter 2021)."""
    made = np.empty_like(images)
    for row, pixels in enumerate(images):
        image = Image.fromarray(pixels.squeeze())
        operation = _OPERATIONS[random.integers(len(_OPERATIONS))]
        changed = operation(image, float(random.random()), random.random() < 0.5)
        made[row] = np.asarray(changed).reshape(made.shape[1:])
    return made


def jitter(images: Images, random: np.random.Generator) -> Images:
    """Brightness, contrast, saturation and hue, each changed at random, in this order.

    Grey images have neither saturation nor hue. Hue is turned in the plane of YIQ's chroma.
    """
    x = images.astype(np.float32)
    brightness, contrast, saturation = 1 + _JITTER[0] * random.uniform(-1, 1, (3, len(x), 1, 1, 1))
    turn = 2 * np.pi * _JITTER[1] * random.uniform(-1, 1, len(x))
    x = np.clip(x * brightness.astype(np.float32), 0, 255)
    mean = (x @ _LUMA if x.shape[3] == 3 else x[..., 0]).mean(axis=(1, 2))[:, None, None, None]
    x = np.clip(mean + contrast.astype(np.float32) * (x - mean), 0, 255)
    if x.shape[3] == 3:
        grey = (x @ _LUMA)[..., None]
        x = np.clip(grey + saturation.astype(np.float32) * (x - grey), 0, 255)
        x = np.einsum("nhwc,ndc->nhwd", x, _hue(turn))
    return as_bytes(x)


def _hue(turn: NDArray[np.float64]) -> NDArray[np.float32]:
    """(N, 3, 3), which turn the hue of RGB by angles (N,) and leave the luma as it is."""
    rotations = np.zeros((len(turn), 3, 3))
    rotations[:, 0, 0] = 1
    rotations[:, 1, 1] = rotations[:, 2, 2] = np.cos(turn)
    rotations[:, 1, 2], rotations[:, 2, 1] = -np.sin(turn), np.sin(turn)
    turned: NDArray[np.float32] = (np.linalg.inv(_YIQ) @ rotations @ _YIQ).astype(np.float32)
    return turned


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, m, less: kind(image).enhance(1 - 0.99 * m if less else 1 + 0.99 * m)


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_LUMA = _YIQ[0].astype(np.float32)

CHANGED = {"trivial-augment": trivial_augment, "jitter": jitter}
"""The changes, by the names of their arms."""

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
