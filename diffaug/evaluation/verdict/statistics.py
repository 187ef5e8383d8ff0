"""Means, intervals and paired differences over seeds, corrected for multiple comparisons."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "difference", "estimate"]

_LEVEL = 0.95
"""Confidence level of every interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and its interval, in percentage points.

    Attributes:
        mean: mean over the seeds.
        low: lower end of the interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} [{self.low:.1f}, {self.high:.1f}]"


def estimate(values: NDArray[np.float64], comparisons: int = 1) -> Estimate:
    """Mean and Student's t interval of values over seeds.

    Args:
        values: (seeds,), at least two.
        comparisons: number of such intervals that must hold jointly (Bonferroni).
    """
    from scipy.stats import t

    count, mean = len(values), float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    half = error * float(t.ppf(1 - (1 - _LEVEL) / (2 * comparisons), count - 1))
    return Estimate(mean, mean - half, mean + half)


def difference(
    values: NDArray[np.float64], reference: NDArray[np.float64], comparisons: int
) -> Estimate:
    """Difference of two arms, paired by seed: same labelled images, same initial weights.

    Args:
        values: (seeds,), of one arm.
        reference: (seeds,), of the other.
        comparisons: as in `estimate`.
    """
    return estimate(values - reference, comparisons)
