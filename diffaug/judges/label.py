"""The label judge: whether a classifier recognises a result as its sample's class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffaug.judges.candidate import Candidate, Scores

__all__ = ["Classifier", "LabelJudge"]

_NONE: Scores = {"score_label": None, "score_label_confidence": None}


class Classifier(Protocol):
    """A network over pictures or texts."""

    @property
    def rows(self) -> int:
        """How many of them keep the device busy."""

    def __call__(self, samples: Sequence[Any], /) -> list[NDArray[np.float64]]:
        """The logits of each, one for each class."""


class LabelJudge:
    """The classifier's agreement with the sample's label, and the probability it gives the label.

    Args:
        classifier: returns the logits of a picture or text.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.rows = classifier.rows

    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """The scores of each; None without a label, or with one the classifier has no class for."""
        labelled = [one for one in candidates if one.label is not None]
        logits = iter(self._classifier([one.output for one in labelled]))
        return [
            _NONE if one.label is None else _scores(next(logits), one.label) for one in candidates
        ]


def _scores(logits: NDArray[np.float64], label: int) -> Scores:
    if not 0 <= label < len(logits) or not np.isfinite(logits).all():
        return _NONE
    odds = np.exp(logits - logits.max())
    return {
        "score_label": float(logits.argmax() == label),
        "score_label_confidence": float(odds[label] / odds.sum()),
    }
