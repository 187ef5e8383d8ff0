"""Structural similarity and peak signal-to-noise ratio of a source and an image made from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["psnr", "scores", "ssim"]

_SSIM_WINDOW = 7
_PIXELS_AT_ONCE = 1 << 18


def scores(pairs: Sequence[tuple[Image.Image, Image.Image]]) -> list[dict[str, float | None]]:
    """Every `score_<name>` of each (source, output), with the source in the output's mode.

    Pictures of one size and mode are scored together; a score never depends on the others.
    """
    alike: dict[tuple[str, tuple[int, int]], list[int]] = {}
    for place, (_, output) in enumerate(pairs):
        alike.setdefault((output.mode, output.size), []).append(place)
    found: list[dict[str, float | None]] = [{}] * len(pairs)
    for places in _in_parts(alike):
        reference = np.stack([np.asarray(pairs[n][0].convert(pairs[n][1].mode)) for n in places])
        result = np.stack([np.asarray(pairs[n][1]) for n in places])
        worth = zip(places, ssim(reference, result), psnr(reference, result), strict=True)
        for place, similarity, decibels in worth:
            found[place] = {"score_ssim": similarity, "score_psnr": decibels}
    return found


def _in_parts(alike: dict[tuple[str, tuple[int, int]], list[int]]) -> Iterator[list[int]]:
    """Groups of pictures small enough to score together in little memory."""
    for (_, (width, height)), places in alike.items():
        at_once = max(1, _PIXELS_AT_ONCE // (width * height))
        for begin in range(0, len(places), at_once):
            yield places[begin : begin + at_once]


def ssim(reference: NDArray[np.uint8], result: NDArray[np.uint8]) -> list[float | None]:
    """Structural similarity (Wang et al. 2004) by scikit-image; None below 7 pixels a side.

    Args:
        reference: uint8 (B, H, W) or (B, H, W, 3).
        result: the same shape.
    """
    from skimage.metrics import structural_similarity

    count, height, width, *channels = reference.shape
    if min(height, width) < _SSIM_WINDOW:
        return [None] * count
    # all of them in one tall picture; the windows that cross from one into the next are cropped off
    tall = (image.reshape(count * height, width, *channels) for image in (reference, result))
    _, similarity = structural_similarity(*tall, channel_axis=2 if channels else None, full=True)
    edge = _SSIM_WINDOW // 2
    each = similarity.reshape(reference.shape)[:, edge : height - edge, edge : width - edge]
    return [float(one.mean()) for one in each]


def psnr(reference: NDArray[np.uint8], result: NDArray[np.uint8]) -> list[float]:
    """Peak signal-to-noise ratio in dB; infinite when they are equal.

    Args:
        reference: uint8 (B, …).
        result: the same shape.
    """
    apart = reference.astype(np.int64) - result
    errors = (apart**2).reshape(len(apart), -1).mean(axis=1)
    return [math.inf if error == 0 else 10 * math.log10(255**2 / error) for error in errors]
