"""How well a classifier does on a set of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffaug.evaluation.images.sets import ScoredSet
from diffaug.evaluation.kinds import CLEAN
from diffaug.evaluation.trials.record import Hits, Score

__all__ = ["hits_of", "score_of"]

_BINS = 15
"""Bins of confidence; Guo et al. 2017 have as many."""

_LEAST = 1e-12
"""The smallest probability that a logarithm is taken of."""


def score_of(
    scored: ScoredSet, confidences: NDArray[np.float32], targets: NDArray[np.int64]
) -> Score:
    """The measures of a classifier on a set of images.

    Args:
        scored: the set.
        confidences: (N, classes), its class probabilities.
        targets: (N,), the right classes, from 0.
    """
    classes, confidences = confidences.shape[1], np.nan_to_num(confidences)  # it may have diverged
    right = confidences.argmax(axis=1) == targets
    by_class = np.bincount(targets[right], minlength=classes)
    images = np.bincount(targets, minlength=classes)
    of_right = confidences[np.arange(len(targets)), targets].astype(np.float64)
    return Score(
        split=scored.split,
        corruption=scored.corruption,
        severity=scored.severity,
        right=int(right.sum()),
        images=len(targets),
        right_by_class=tuple(by_class.tolist()),
        balanced=float(100 * np.mean(by_class[images > 0] / images[images > 0])),
        nll=float(-np.log(np.maximum(of_right, _LEAST)).mean()),
        ece=_calibration_error(confidences.max(axis=1), right),
    )


def _calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Mean distance of confidence and accuracy over bins of confidence, in percent."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, confidence.astype(np.float64) - right, minlength=_BINS)
    return float(100 * np.abs(gaps).sum() / len(right))


def hits_of(right: Sequence[tuple[str, NDArray[np.bool_]]]) -> Hits | None:
    """How often a classifier was right about each test image; None without test images.

    Args:
        right: by corruption, (N,) whether it was.
    """
    if not right:
        return None
    none = np.zeros(len(right[0][1]), dtype=np.uint16)
    clean, corrupted = (
        [found for corruption, found in right if (corruption == CLEAN) == is_clean]
        for is_clean in (True, False)
    )
    return np.stack([sum(clean, none), sum(corrupted, none)])
