"""How well a classifier does on a set of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffaug.evaluation.images.sets import CLEAN, ScoredSet
from diffaug.evaluation.trials.record import Hits, Score

__all__ = ["hits_of", "score_of"]

_BINS = 15
"""Bins of confidence; Guo et al. 2017 have as many."""

_LEAST = 1e-12
"""The smallest probability that a logarithm is taken of."""

Scored = tuple[ScoredSet, NDArray[np.float32], NDArray[np.int64]]
"""A set of images, class probabilities (N, classes), and the right classes (N,) from 0."""


def score_of(
    scored: ScoredSet, confidences: NDArray[np.float32], targets: NDArray[np.int64]
) -> Score:
    """The measures of a classifier on a set of images.

    Args:
        scored: the set.
        confidences: (N, classes), its class probabilities.
        targets: (N,), the right classes, from 0.
    """
    classes = confidences.shape[1]
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


def hits_of(scored: Sequence[Scored]) -> Hits | None:
    """How often a classifier was right about each test image; None without test images."""
    clean, corrupted = (
        [
            confidences.argmax(axis=1) == targets
            for one, confidences, targets in scored
            if one.split == "test" and (one.corruption == CLEAN) == is_clean
        ]
        for is_clean in (True, False)
    )
    if not clean:
        return None
    none = np.zeros(len(clean[0]), dtype=np.uint16)
    return np.stack([sum(clean, none), sum(corrupted, none)])
