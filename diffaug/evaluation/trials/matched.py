"""Controls that match a pool: blurred and noisy copies that are as far from their images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffaug.evaluation.images.corruptions import Images, as_bytes, generator
from diffaug.evaluation.images.pool import Pool

__all__ = ["matched_blur", "matched_noise"]

_TRIES = 5
"""How often the deviation of the noise is corrected for what clipping removes."""

_SIGMAS = np.geomspace(0.01, 0.25, 32)
"""Standard deviations that a blur can have, as shares of the width."""


def matched_blur(images: Images, like: Pool) -> Pool:
    """A blurred copy for every copy of a pool, at the strength whose PSNR is closest to its own."""
    made = Pool(np.zeros_like(like.copies), like.there, np.full_like(like.psnr, np.nan))
    for place, image in enumerate(images.astype(np.float32)):
        blurred = np.stack([_blurred(image, sigma) for sigma in _SIGMAS])
        found = _psnr(blurred, image)
        target = like.psnr[place, like.there[place]]
        nearest = np.abs(found[None] - target[:, None]).argmin(axis=1)
        made.copies[place, like.there[place]] = as_bytes(blurred[nearest])
        made.psnr[place, like.there[place]] = found[nearest]
    return made


def matched_noise(images: Images, pixels: tuple[str, ...], like: Pool) -> Pool:
    """A copy with Gaussian noise for every copy of a pool, at the same PSNR."""
    made = Pool(np.zeros_like(like.copies), like.there, np.full_like(like.psnr, np.nan))
    for place, image in enumerate(images.astype(np.float32)):
        target = like.psnr[place, like.there[place]]
        shape = (len(target), *image.shape)
        noise = generator("matched-noise", pixels[place]).standard_normal(shape, np.float32)
        deviation = 255 * 10 ** (-target / 20)
        for _ in range(_TRIES):
            noisy = as_bytes(image + deviation[:, None, None, None] * noise)
            found = _psnr(noisy.astype(np.float32), image)
            # clipping at black and white removes noise
            deviation = np.minimum(deviation * 10 ** ((found - target) / 20), 1e4)
        made.copies[place, like.there[place]] = noisy
        made.psnr[place, like.there[place]] = found
    return made


def _blurred(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    blurred: NDArray[np.float32] = gaussian_filter(image, sigma * image.shape[1], axes=(0, 1))
    return blurred


def _psnr(copies: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
    """(K,), in dB, of copies (K, H, W, C) against an image (H, W, C)."""
    errors = np.square(copies - image).mean(axis=(1, 2, 3), dtype=np.float64)
    decibels: NDArray[np.float64] = 10 * np.log10(255**2 / np.maximum(errors, 1e-4))
    return decibels
