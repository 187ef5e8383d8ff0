"""Near-duplicates, by a perceptual hash."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from diffaug.judges.candidate import Candidate, Scores

__all__ = ["PHASH_VERSION", "PhashJudge", "perceptual_hash"]

PHASH_VERSION = "phash-1"
"""Changes when a picture's hash does."""

_SIDE, _LOW = 32, 8
_BITS = float(_LOW**2)
_DCT = np.cos(math.pi / _SIDE * np.outer(np.arange(_LOW), np.arange(_SIDE) + 0.5))
"""The lowest frequencies of the DCT-II, a row each."""

_DECIMALS = 6
"""Beyond these a coefficient is rounding, which would decide the bits of a flat picture."""


def perceptual_hash(image: Image.Image) -> int:
    """A picture's hash of 64 bits, near to that of a picture which looks alike.

    The picture in grey, resized to 32x32 (Lanczos); a bit for each of the 8x8 lowest frequencies
    of its DCT, row by row and the lowest first, set where it is above their median. The algorithm
    is that of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
    in the form of Krawetz, "Looks Like It" (2011).
    """
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    low = (_DCT @ np.asarray(small, dtype=np.float64) @ _DCT.T).round(_DECIMALS)
    bits = np.packbits(low.ravel() > np.median(low))
    return int.from_bytes(bits.tobytes(), "big")


class PhashJudge:
    """Distances, in bits, to the source and to its copies before."""

    rows = 1

    def __init__(self) -> None:
        self._origin: object = None
        self._source = 0
        self._copies: list[int] = []

    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """The scores of each, in [0, 64]; to no copy at all a first one is as far as can be."""
        return [self._scores(candidate) for candidate in candidates]

    def _scores(self, candidate: Candidate) -> Scores:
        if candidate.origin is None or candidate.origin is not self._origin:
            self._origin, self._copies = candidate.origin, []
            self._source = perceptual_hash(candidate.source)
        own = perceptual_hash(candidate.output)
        apart = [float((own ^ other).bit_count()) for other in self._copies]
        self._copies.append(own)
        return {
            "score_phash_source": float((own ^ self._source).bit_count()),
            "score_phash_copies": min(apart, default=_BITS),
        }
