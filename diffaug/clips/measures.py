"""How a clip compares with the one it was made from: structure, noise, and flicker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from diffaug.clips.clip import Clip
from diffaug.pictures.similarity import psnr, ssim

__all__ = ["clip_scores", "flicker"]


def clip_scores(pairs: Sequence[tuple[Clip, Clip]]) -> list[dict[str, float | None]]:
    """Every `score_<name>` of each (source, output).

    `score_ssim` is the mean over frames; `score_psnr` is that of all pixels together; for
    `score_flicker`, see `flicker`.
    """
    return [_scores(source, output) for source, output in pairs]


def _scores(source: Clip, output: Clip) -> dict[str, float | None]:
    frames = [one if one.mode == output.mode else one.convert(output.mode) for one in source.frames]
    before = [np.asarray(frame) for frame in frames]
    after = [np.asarray(frame) for frame in output.frames]
    alike = [ssim(one, other) for one, other in zip(before, after, strict=True)]
    known = [one for one in alike if one is not None]
    errors = [psnr(one, other) for one, other in zip(before, after, strict=True)]
    return {
        "score_ssim": fmean(known) if known else None,
        "score_psnr": _together(errors),
        "score_flicker": flicker(before, after),
    }


def _together(found: Sequence[float]) -> float:
    """The PSNR of pictures of one size together, by that of each."""
    error = fmean(0.0 if math.isinf(one) else 10 ** (-one / 10) for one in found)
    return math.inf if error == 0 else -10 * math.log10(error)


def flicker(
    before: Sequence[NDArray[np.uint8]], after: Sequence[NDArray[np.uint8]]
) -> float | None:
    """The energy of the differences of neighbouring frames, after over before.

    1 is as much change from frame to frame as there was. Noise of its own in each frame adds to it,
    a blur takes away. None for one frame, and where nothing moved before.

    Args:
        before: uint8 frames of one shape.
        after: as many, of the same shape.
    """
    moved = _energy(before)
    return _energy(after) / moved if moved else None


def _energy(frames: Sequence[NDArray[np.uint8]]) -> int:
    total = 0
    for one, next_one in pairwise(frames):
        apart = np.subtract(next_one, one, dtype=np.int16)
        total += int(np.square(apart, dtype=np.int32).sum(dtype=np.int64))
    return total
