"""How real and augmented samples are mixed: the values that a user gives, checked."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

from diffaug.errors import ConfigError

__all__ = ["Mixing"]


@dataclass(frozen=True)
class Mixing:
    """How an epoch is drawn from the real and the augmented side.

    Attributes:
        p: probability that a sample drawn is augmented, in [0, 1]; None if it is not given.
        ratio: in place of `p`, how many real and how many augmented samples take turns.
        samples: how many samples an epoch has over all ranks; None if it is not given.
        shuffle: how many samples of each side are held to draw the next one from.
        seed: of order and draws.
        train: whether samples are drawn to train; otherwise each comes exactly once.

    Raises:
        ConfigError: a value is out of its range, or two values exclude each other.
    """

    p: float | None
    ratio: tuple[int, int] | None
    samples: int | None
    shuffle: int
    seed: int
    train: bool

    def __post_init__(self) -> None:
        if self.ratio is not None:
            self._check_ratio(self.ratio)
        elif self.p is not None and not (_is(Real, self.p) and 0 <= self.p <= 1):
            raise ConfigError(f"p must be in [0, 1], got {self.p!r}")
        if self.samples is not None and not (_is(Integral, self.samples) and self.samples >= 1):
            raise ConfigError(f"samples must be at least 1, got {self.samples!r}")
        if self.samples is not None and not self.train:
            raise ConfigError(
                "samples: in evaluation each sample comes exactly once: leave samples out"
            )
        if not (_is(Integral, self.shuffle) and self.shuffle >= 0):
            raise ConfigError(
                f"shuffle must be a number of samples, 0 for none, got {self.shuffle!r}"
            )
        if not _is(Integral, self.seed):
            raise ConfigError(f"seed must be a whole number, got {self.seed!r}")

    @property
    def is_given(self) -> bool:
        """Whether the user gave `p` or `ratio`."""
        return self.p is not None or self.ratio is not None

    @property
    def share(self) -> float:
        """The expected share of augmented samples, in [0, 1]; 0.5 by default."""
        if self.ratio is not None:
            return self.ratio[1] / sum(self.ratio)
        return 0.5 if self.p is None else self.p

    def _check_ratio(self, ratio: tuple[int, int]) -> None:
        if self.p is not None:
            raise ConfigError("p, ratio: give one of the two")
        pair = _is((tuple, list), ratio) and len(ratio) == 2
        if not pair or any(not _is(int, n) or n < 0 for n in ratio) or not sum(ratio):
            raise ConfigError(
                f"ratio must be (real, augmented), whole numbers such as (1, 2), got {ratio!r}"
            )


def _is(kind: type | tuple[type, ...], value: object) -> bool:
    """Whether a value is of the kind that it is declared to be: users check no types."""
    return isinstance(value, kind)
