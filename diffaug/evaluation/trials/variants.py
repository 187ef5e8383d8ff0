"""What stands beside the labelled images in a batch: variants of them, drawn as they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from diffaug.evaluation.images.corruptions import Images, as_bytes, generator

__all__ = ["Pool", "TrivialAugment", "Variants", "flips_and_crops", "matched_blur", "matched_noise"]

Places = NDArray[np.int64]
"""(N,), of labelled images."""


class Variants(Protocol):
    """A source of variants of the labelled images."""

    def draw(self, places: Places, random: np.random.Generator) -> tuple[Places, Images]:
        """One variant of the image at each place, and whose variants they are in the end."""
        ...


@dataclass(frozen=True, slots=True)
class Pool:
    """Copies made beforehand.

    Attributes:
        copies: uint8 (N, K, H, W, C).
        there: bool (N, K), which of them can be drawn.
        psnr: (N, K), to their image, in dB; NaN where they are not there.
    """

    copies: NDArray[np.uint8]
    there: NDArray[np.bool_]
    psnr: NDArray[np.float64]

    def draw(self, places: Places, random: np.random.Generator) -> tuple[Places, Images]:
        """One copy of the image at each place, and whose copies they are in the end.

        An image whose copies were all turned away loses its turn to another; none of itself takes
        its place, which would be oversampling.
        """
        which = np.argwhere(self.there)
        starts = np.searchsorted(which[:, 0], np.arange(len(self.there) + 1))
        counts = np.diff(starts)
        lost = counts[places] == 0
        places = places.copy()
        places[lost] = random.choice(np.flatnonzero(counts), lost.sum())
        picked = starts[places] + (random.random(len(places)) * counts[places]).astype(np.int64)
        image, copy = which[picked].T
        return image, self.copies[image, copy]

    def kept(self, there: NDArray[np.bool_]) -> Pool:
        """The pool without the copies that are not `there`."""
        return Pool(self.copies, self.there & there, self.psnr)


def flips_and_crops(images: Images, random: np.random.Generator) -> Images:
    """Flip half of the images, and move each by up to a fourteenth of its size over black."""
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
    """One random operation of random strength an image (TrivialAugment, Müller & Hutter 2021).

    Attributes:
        images: uint8 (N, H, W, C), the labelled ones.
    """

    images: Images

    def draw(self, places: Places, random: np.random.Generator) -> tuple[Places, Images]:
        """A fresh variant of the image at each place."""
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
"""An image, a strength in [0, 1), and which of two ways."""

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


_TRIES = 5
"""How often the noise is made more, until it is as strong as it should be."""

_SIGMAS = np.geomspace(0.01, 0.25, 32)
"""Standard deviations that a blur can have, as parts of the width."""


def matched_blur(images: Images, like: Pool) -> Pool:
    """A blurred copy for every copy of a pool, of the strength that comes nearest to its PSNR."""
    made = Pool(np.zeros_like(like.copies), like.there, np.full_like(like.psnr, np.nan))
    for place, image in enumerate(images.astype(np.float32)):
        blurred = np.stack([_blurred(image, sigma) for sigma in _SIGMAS])
        found = _psnr(blurred, image)
        wanted = like.psnr[place, like.there[place]]
        nearest = np.abs(found[None] - wanted[:, None]).argmin(axis=1)
        made.copies[place, like.there[place]] = as_bytes(blurred[nearest])
        made.psnr[place, like.there[place]] = found[nearest]
    return made


def matched_noise(images: Images, pixels: tuple[str, ...], like: Pool) -> Pool:
    """A noisy copy for every copy of a pool, with Gaussian noise that gives it its PSNR."""
    made = Pool(np.zeros_like(like.copies), like.there, np.full_like(like.psnr, np.nan))
    for place, image in enumerate(images.astype(np.float32)):
        wanted = like.psnr[place, like.there[place]]
        shape = (len(wanted), *image.shape)
        noise = generator("matched-noise", pixels[place]).standard_normal(shape, np.float32)
        deviation = 255 * 10 ** (-wanted / 20)
        for _ in range(_TRIES):
            noisy = as_bytes(image + deviation[:, None, None, None] * noise)
            found = _psnr(noisy.astype(np.float32), image)
            # what is clipped at black and white is noise lost
            deviation = np.minimum(deviation * 10 ** ((found - wanted) / 20), 1e4)
        made.copies[place, like.there[place]] = noisy
        made.psnr[place, like.there[place]] = found
    return made


def _blurred(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    blurred: NDArray[np.float32] = gaussian_filter(image, sigma * image.shape[1], axes=(0, 1))
    return blurred


def _psnr(copies: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
    """(K,), of copies (K, H, W, C) to an image (H, W, C), in dB."""
    errors = np.square(copies - image).mean(axis=(1, 2, 3), dtype=np.float64)
    decibels: NDArray[np.float64] = 10 * np.log10(255**2 / np.maximum(errors, 1e-4))
    return decibels
