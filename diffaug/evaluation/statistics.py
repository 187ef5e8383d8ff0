"""Means over seeds and images, paired differences, and what so many seeds can show.

Seeds are repetitions: draws of labelled images, of augmentations and of initial weights. The
test images are the same for all of them, so an interval over seeds alone says nothing of other
test images; `over_images` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ALPHA",
    "Estimate",
    "Resampled",
    "binomial_spread",
    "difference",
    "estimate",
    "exceeds",
    "from_images",
    "holm",
    "is_known",
    "over_images",
    "smallest_visible",
]

_LEVEL = 0.95
"""Confidence level of every interval."""

ALPHA = (1 - _LEVEL) / 2
"""How often an interval lies above the truth, or below it: the level of one-sided tests."""

_POWER = 0.8
"""How often a difference is to be seen that counts as visible."""

_DRAWS, _AT_ONCE = 2000, 100


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its interval, in percentage points.

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

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class Resampled(Estimate):
    """A mean and its interval by a bootstrap.

    Attributes:
        not_above: p of "it is not above zero": the share of draws that are not.
        not_below: p of "it is not below zero".
    """

    not_above: float
    not_below: float


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
    values: NDArray[np.float64], reference: NDArray[np.float64], comparisons: int = 1
) -> Estimate:
    """Difference of two arms, paired by seed: same labelled images, same initial weights.

    Args:
        values: (seeds,), of one arm.
        reference: (seeds,), of the other.
        comparisons: as in `estimate`.
    """
    return estimate(values - reference, comparisons)


def exceeds(values: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """The p-value of "one arm is no better than another" (Student's t, one-sided, paired)."""
    from scipy.stats import t

    differences = values - reference
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    mean = float(np.mean(differences))
    if error == 0:
        return 0.0 if mean > 0 else 1.0
    return float(t.sf(mean / error, len(differences) - 1))


def holm(ps: Sequence[float]) -> list[float]:
    """P-values such that all below a level hold jointly at this level (Holm 1979)."""
    adjusted, least = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = least
    return adjusted


def over_images(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> Resampled:
    """Difference of two arms over seeds and test images, both of which might have been others.

    A bootstrap that gives seeds and images new weights at random, each image the same ones with
    all seeds (Owen & Eckles 2012, with exponential weights as in Rubin 1981). With few seeds it is
    too narrow; Student's interval is not.

    Args:
        ours: (seeds, images), how far an arm was right about each image, in [0, 1].
        theirs: the same of another arm, with the same seeds and images.
        weights: (images,), what each image counts; by default all the same.

    Returns:
        In percentage points.
    """
    differences = 100 * (ours - theirs)
    weights = np.ones(differences.shape[1]) if weights is None else weights
    mean = float(np.average(differences.mean(axis=0), weights=weights))
    random, means = np.random.default_rng(0), list[NDArray[np.float64]]()
    for _ in range(0, _DRAWS, _AT_ONCE):
        of_seeds, of_images = (
            random.standard_exponential((_AT_ONCE, count)) for count in differences.shape
        )
        of_images *= weights
        sums = (of_images @ differences.T * of_seeds).sum(axis=1)
        means.append(sums / of_seeds.sum(axis=1) / of_images.sum(axis=1))
    drawn = np.concatenate(means)
    low, high = np.quantile(drawn, [ALPHA, 1 - ALPHA])
    not_above, not_below = float(np.mean(drawn <= 0)), float(np.mean(drawn >= 0))
    return Resampled(mean, float(low), float(high), not_above, not_below)


def from_images(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> float:
    """Half of the interval that is left with any number of seeds, for these are all images.

    Args:
        ours: as in `over_images`.
        theirs: likewise.
        weights: likewise.
    """
    from scipy.stats import norm

    differences = 100 * (ours - theirs)
    seeds, images = differences.shape
    weights = np.ones(images) if weights is None else weights
    weights = weights / weights.sum()
    # what the means of images differ by, less what is due to there being so few seeds
    means, spread = differences.mean(axis=0), differences.var(axis=0, ddof=1) / seeds
    by_image = (means - np.average(means, weights=weights)) ** 2
    variance = float((weights**2 * (by_image - spread)).sum())
    return float(norm.ppf(1 - ALPHA)) * math.sqrt(max(variance, 0.0))


def is_known(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    to: float,
    right: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> bool:
    """Whether more seeds are of no use: a difference is known to so many points, or never will be.

    This depends on how seeds and images differ, and not on where zero is.

    Args:
        ours: (seeds,), of one arm.
        theirs: (seeds,), of the other.
        to: half of an interval, in points.
        right: the same two as in `over_images`; None if that is not known.
        weights: as in `over_images`.
    """
    if right is not None and from_images(*right, weights) > to:
        return True
    if difference(ours, theirs).half > to:
        return False
    return right is None or over_images(*right, weights).half <= to


def smallest_visible(spread: float, seeds: int) -> float:
    """The smallest true difference that an interval over seeds excludes zero for, mostly: with a
    probability of 0.8.

    Args:
        spread: standard deviation of paired differences over seeds, in points.
        seeds: how many.
    """
    from scipy.stats import t

    quantiles = t.ppf(1 - ALPHA, seeds - 1) + t.ppf(_POWER, seeds - 1)
    return float(quantiles) * spread / math.sqrt(seeds)


def binomial_spread(images: int) -> float:
    """By how many points two arms differ from seed to seed (standard deviation) at least: as much
    as two coins that are thrown for every test image. Draws of labels and weights add to it.

    Args:
        images: test images.
    """
    return 100 * math.sqrt(0.5 / images)
