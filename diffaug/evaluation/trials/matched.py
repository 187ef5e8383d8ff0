"""Controls that match a pool: copies that something else has taken as far from their images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffaug.evaluation.images.corruptions import Images, as_bytes, generator
from diffaug.evaluation.images.pool import Pool, psnr_of

__all__ = ["in_turn", "matched_blur", "matched_field", "matched_noise"]

_TRIES = 5
"""How often the strength of a change is corrected for what clipping removes."""

_STRONGEST = 4.0
"""How much stronger than a change its field may become, where clipping removes most of it."""

_SIGMAS = np.geomspace(0.01, 0.25, 32)
"""Standard deviations that a blur can have, as shares of the width."""


def matched_blur(images: Images, like: Pool) -> Pool:
    """A blurred copy for every copy of a pool, at the strength whose PSNR is closest to its own."""
    made = Pool(np.zeros_like(like.copies), like.there, np.full_like(like.psnr, np.nan))
    for place, image in enumerate(images.astype(np.float32)):
        blurred = np.stack([_blurred(image, sigma) for sigma in _SIGMAS])
        found = psnr_of(blurred, image)
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
        changed = _as_far(image, noise, target, deviation, 1e4)
        made.copies[place, like.there[place]], made.psnr[place, like.there[place]] = changed
    return made


def matched_field(images: Images, pixels: tuple[str, ...], like: Pool) -> Pool:
    """A copy with a random field for every copy of a pool, at the same PSNR.

    The field has the spectrum of that copy's change, in each channel and between them, and random
    phases (Prichard & Theiler 1994): as coarse, as strong and of the same colours, and with no
    regard to what the image shows.
    """
    made = Pool(np.zeros_like(like.copies), like.there, np.full_like(like.psnr, np.nan))
    for place, image in enumerate(images.astype(np.float32)):
        change = like.copies[place, like.there[place]] - image
        random = generator("matched-field", pixels[place])
        phases = np.fft.rfft2(random.standard_normal(change.shape[:3]), axes=(1, 2))
        turned = np.fft.rfft2(change, axes=(1, 2)) * np.exp(1j * np.angle(phases))[..., None]
        field = np.fft.irfft2(turned, s=image.shape[:2], axes=(1, 2)).astype(np.float32)
        target = like.psnr[place, like.there[place]]
        changed = _as_far(image, field, target, np.ones(len(field)), _STRONGEST)
        made.copies[place, like.there[place]], made.psnr[place, like.there[place]] = changed
    return made


def in_turn(pools: Sequence[Pool]) -> Pool:
    """Copy k of image n is that of pool (n + k) % len(pools)."""
    first = pools[0]
    images, copies = first.there.shape
    turn = np.add.outer(np.arange(images), np.arange(copies)) % len(pools)
    made = Pool(first.copies.copy(), first.there, first.psnr.copy())
    for number, pool in enumerate(pools):
        made.copies[turn == number] = pool.copies[turn == number]
        made.psnr[turn == number] = pool.psnr[turn == number]
    return made


def _as_far(
    image: NDArray[np.float32],
    changes: NDArray[np.float32],
    target: NDArray[np.float64],
    scale: NDArray[np.float64],
    most: float,
) -> tuple[Images, NDArray[np.float64]]:
    """Copies (K, H, W, C) of an image, changed to the PSNR of `target`, and the PSNR they have."""
    for _ in range(_TRIES):
        copies = as_bytes((image + scale[:, None, None, None] * changes).astype(np.float32))
        found = psnr_of(copies.astype(np.float32), image)
        # clipping at black and white removes some of a change
        scale = np.minimum(scale * 10 ** ((found - target) / 20), most)
    return copies, found


def _blurred(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    blurred: NDArray[np.float32] = gaussian_filter(image, sigma * image.shape[1], axes=(0, 1))
    return blurred
