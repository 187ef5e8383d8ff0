"""Does a classifier see in an image the class its sample has?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffaug.judges.candidate import Candidate, Scores
from diffaug.judges.network import PictureNetwork

__all__ = ["LabelJudge"]

_NONE: Scores = {"score_label": None, "score_label_confidence": None}


class LabelJudge:
    """Agreement with the sample's label, and the probability the classifier gives to it.

    Args:
        classifier: gives a picture's logits, one a class.
    """

    def __init__(self, classifier: PictureNetwork) -> None:
        self._classifier = classifier
        self.rows = classifier.rows

    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """The scores of each; None where there is no label, or none of the classifier's classes."""
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
