"""What arms were right about, test image by test image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffaug.evaluation.arms import Arm
from diffaug.evaluation.images.sets import test_labels
from diffaug.evaluation.kinds import CLEAN
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.trials.record import read_hits

__all__ = ["Seen", "read_seen"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What each arm was right about.

    Attributes:
        right: (seeds, images) by arm's name, in [0, 1]: the share of an image's versions.
        weights: (images,), what each counts.
    """

    right: Mapping[str, NDArray[np.float64]]
    weights: NDArray[np.float64]


def read_seen(
    plan: EvaluationPlan, output: str, arms: Iterable[Arm], labels: int, seeds: int, of: str
) -> Seen | None:
    """What arms were right about in their first trials; None if an earlier version did some.

    Args:
        plan: the evaluation.
        output: its OUTPUT.
        arms: which arms.
        labels: the budget.
        seeds: how many, from the first.
        of: `clean` or `corrupted`.
    """
    settings, right = plan.settings, dict[str, NDArray[np.float64]]()
    versions = 1 if of == CLEAN else len(settings.corrupted)
    for arm in arms:
        found = [read_hits(output, arm, labels, seed) for seed in range(seeds)]
        hits = [one[0 if of == CLEAN else 1] for one in found if one is not None]
        if len(hits) < seeds:
            return None
        right[arm.name] = np.stack(hits) / versions
    classes = test_labels(output)
    if settings.measure == "accuracy":
        return Seen(right, np.ones(len(classes)))
    _, which, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return Seen(right, 1 / counts[which])
