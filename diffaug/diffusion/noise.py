"""Randomness that follows identity: noise is a function of (seed, pixels, copy, draw) alone.

So no order, worker, batch or retry can change an image. The bits come from Philox 4x64, a
counter-based generator (Salmon et al. 2011), normal and exponential values from numpy's ziggurats.
Both run on the CPU, whatever the model runs on; a test pins the first values, and NOISE_VERSION
names them.

https://doi.org/10.1145/2063384.2063405
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOISE_VERSION", "SampleRandom"]

NOISE_VERSION = "philox4x64-ziggurat-1"
"""Recorded in every part. Change it with any change here that alters a value."""

_NORMAL, _UNIFORM, _CHANCE, _CHOICE, _HIDING, _TURN, _WAITING = range(7)


@dataclass(frozen=True, slots=True)
class SampleRandom:
    """The random stream of one (image, copy).

    Attributes:
        seed: the recipe's seed.
        pixel_sha256: digest of the source's decoded pixels, in hex.
        copy: which copy, from 0; in a loader it depends on the epoch.
    """

    seed: int
    pixel_sha256: str
    copy: int

    def normal(
        self, shape: tuple[int, ...], draw: int = 0, frame: int | None = None
    ) -> NDArray[np.float32]:
        """Standard normal float32 values; each `draw` (0, 1, …) is independent of the others.

        So is each `frame` of a clip of the others, and of what all its frames share (None).
        """
        generator = self._generator(_NORMAL, draw, 0 if frame is None else 1 + frame)
        return generator.standard_normal(shape, dtype=np.float32)

    def noise(
        self, shape: tuple[int, ...], draws: int, frame: int | None = None
    ) -> NDArray[np.float32]:
        """The noise of an image, or of a frame, then that of `draws` steps: (1 + draws, *shape)."""
        return np.stack([self.normal(shape, draw, frame) for draw in range(1 + draws)])

    def uniform(self, draw: int = 0) -> float:
        """One uniform value in [0, 1)."""
        return float(self._generator(_UNIFORM, draw).random())

    def chance(self) -> float:
        """One uniform value in [0, 1) that decides whether the copy is made at all.

        It is independent of every draw that its pixels depend on.
        """
        return float(self._generator(_CHANCE, 0).random())

    def choice(self) -> float:
        """One uniform value in [0, 1) that decides which class the copy is edited towards.

        It is independent of all other draws.
        """
        return float(self._generator(_CHOICE, 0).random())

    def hiding(self, count: int) -> NDArray[np.float64]:
        """Uniform values in [0, 1) of a text's tokens, which decide when each is hidden."""
        return self._generator(_HIDING, 0).random(count)

    def turns(self, count: int) -> NDArray[np.float64]:
        """Uniform values in [0, 1) of a text's tokens, which decide when each comes back."""
        return self._generator(_TURN, 0).random(count)

    def waiting(self, count: int, call: int, place: int) -> NDArray[np.float64]:
        """Exponential values that decide which of `count` tokens comes to a place at a call."""
        return self._generator(_WAITING, call, place).standard_exponential(count)

    def _generator(self, kind: int, draw: int, part: int = 0) -> np.random.Generator:
        identity = f"{NOISE_VERSION}|{self.seed}|{self.pixel_sha256}|{self.copy}"
        key = np.frombuffer(hashlib.sha256(identity.encode()).digest()[:16], dtype="<u8")
        counter = np.array([0, part, draw, kind], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))
