"""The phash judge: near-duplicates found by a perceptual hash."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from diffaug.judges.candidate import Candidate, Scores

__all__ = ["PHASH_VERSION", "PhashJudge", "perceptual_hash"]

PHASH_VERSION = "phash-1"
"""Changes whenever the hash of any picture does."""

_SIDE, _LOW = 32, 8
_BITS = float(_LOW**2)
_DCT = np.cos(math.pi / _SIDE * np.outer(np.arange(_LOW), np.arange(_SIDE) + 0.5))
"""The lowest frequencies of the DCT-II, one a row."""

_DECIMALS = 6
"""Beyond these, a coefficient is rounding error, which would decide a flat picture's bits."""


def perceptual_hash(image: Image.Image) -> int:
    """A picture's 64-bit hash; pictures that look similar have hashes that differ in few bits.

    The picture is converted to grey and resized to 32x32 (Lanczos). The hash has a bit for each of
    the 8x8 lowest frequencies of the DCT, row by row and lowest first, set if it is above their
    median. The algorithm is that of Zauner, "Implementation and Benchmarking of Perceptual Image
    Hash Functions" (2010), in the form of Krawetz, "Looks Like It" (2011).
    """
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    low = (_DCT @ np.asarray(small, dtype=np.float64) @ _DCT.T).round(_DECIMALS)
    bits = np.packbits(low.ravel() > np.median(low))
    return int.from_bytes(bits.tobytes(), "big")


class PhashJudge:
    """Distances, in bits, to the source and to its earlier copies."""

    rows = 1

    def __init__(self) -> None:
        self._origin: object = None
        self._source = 0
        self._copies: list[int] = []

    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """The scores of each, in [0, 64]; a first copy gets the largest distance to copies, 64."""
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
