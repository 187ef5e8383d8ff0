"""Common corruptions of test images, after Hendrycks & Dietterich 2019 (ImageNet-C).

Those of its kinds that make sense at any image size, at five severities. Randomness (the noise, the
position of the black square) is a function of the image's own pixels.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Images", "as_bytes", "corrupt", "generator"]

Images = NDArray[np.uint8]
"""(N, H, W, C) with C 1 or 3; of clips, the channels of their frames behind one another."""

_NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation, where white is 1
_BLUR = (0.02, 0.03, 0.045, 0.065, 0.09)  # standard deviation, as a share of the width
_CONTRAST = (0.6, 0.45, 0.3, 0.2, 0.1)  # the share of it that is left
_OCCLUSION = (0.2, 0.3, 0.4, 0.5, 0.6)  # side of a black square, as a share of the width
_JPEG = (25, 18, 15, 10, 7)  # quality


def corrupt(
    images: Images, pixels: Sequence[str], kind: str, severity: int, channels: int | None = None
) -> Images:
    """Corrupt images, or all frames of a clip in the same way, but for noise, which is their own.

    Args:
        images: uint8 (N, H, W, C).
        pixels: the N digests of their pixels.
        kind: one of `settings.CORRUPTIONS`.
        severity: from 1 to 5.
        channels: of each frame, if these are clips.

    Returns:
        uint8 (N, H, W, C).
    """
    if kind == "jpeg":
        frames = np.split(images, images.shape[3] // (channels or images.shape[3]), axis=3)
        return np.concatenate([_jpeg(frame, pixels, severity - 1) for frame in frames], axis=3)
    return _CORRUPTIONS[kind](images, pixels, severity - 1)


def generator(*identity: object) -> np.random.Generator:
    """A random generator seeded by an identity, so that draws do not depend on their order."""
    digest = hashlib.sha256("|".join(map(str, identity)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def _noise(images: Images, pixels: Sequence[str], level: int) -> Images:
    made = np.empty_like(images)
    for place, digest in enumerate(pixels):
        noise = generator("noise", digest).standard_normal(images.shape[1:], np.float32)
        made[place] = as_bytes(images[place] + 255 * _NOISE[level] * noise)
    return made


def _blur(images: Images, _: Sequence[str], level: int) -> Images:
    from scipy.ndimage import gaussian_filter

    sigma = _BLUR[level] * images.shape[2]
    return as_bytes(gaussian_filter(images.astype(np.float32), sigma, axes=(1, 2)))


def _contrast(images: Images, _: Sequence[str], level: int) -> Images:
    mean = images.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    return as_bytes(mean + _CONTRAST[level] * (images - mean))


def _occlusion(images: Images, pixels: Sequence[str], level: int) -> Images:
    made = images.copy()
    height, width = images.shape[1:3]
    side = round(_OCCLUSION[level] * min(height, width))
    for place, digest in enumerate(pixels):
        down, right = generator("occlusion", digest).random(2)
        top, left = round(down * (height - side)), round(right * (width - side))
        made[place, top : top + side, left : left + side] = 0
    return made


def _jpeg(images: Images, _: Sequence[str], level: int) -> Images:
    made = np.empty_like(images)
    for place, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=_JPEG[level])
        made[place] = np.asarray(Image.open(file)).reshape(image.shape)
    return made


def as_bytes(values: NDArray[np.float32]) -> Images:
    """Values rounded and clipped to [0, 255]."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


_CORRUPTIONS: dict[str, Callable[[Images, Sequence[str], int], Images]] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "occlusion": _occlusion,
}
