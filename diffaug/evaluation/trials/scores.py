"""Scores of trials as a table, and the arm that validation images choose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffaug.evaluation.arms import Arm
from diffaug.evaluation.kinds import CLEAN, CORRUPTED
from diffaug.evaluation.trials.record import Trial

__all__ = ["MEASURES", "by_preference", "per_seed", "scores_table"]

MEASURES = ("balanced", "nll", "ece")
"""Columns of the scores, beside accuracy (see `record.Score`)."""


def scores_table(trials: Iterable[Trial]) -> pd.DataFrame:
    """One row per trial, split, corruption and severity; `accuracy` is in percent."""
    table = pd.DataFrame(
        [
            {
                "arm": trial.arm.name,
                "family": trial.arm.family,
                "strength": trial.arm.strength,
                **trial.model_dump(exclude={"arm", "scores"}),
                **score.model_dump(),
                "accuracy": 100 * score.right / score.images,
            }
            for trial in trials
            for score in trial.scores
        ]
    )
    return table.astype(dict.fromkeys(MEASURES, float))  # None in records of earlier versions


def per_seed(
    scores: pd.DataFrame, labels: int, split: str, of: str, measure: str = "accuracy"
) -> dict[str, NDArray[np.float64]]:
    """A measure of each arm, (seeds,), in percent.

    Args:
        scores: see `scores_table`.
        labels: the budget.
        split: `test` or `validation`.
        of: CLEAN, CORRUPTED, or one corruption, whose severities are averaged.
        measure: a column of `scores`.
    """
    rows = scores[(scores["labels"] == labels) & (scores["split"] == split)]
    rows = rows[rows["corruption"] != CLEAN] if of == CORRUPTED else rows[rows["corruption"] == of]
    means = rows.groupby(["arm", "seed"])[measure].mean().unstack("seed")
    return {str(arm): values.to_numpy() for arm, values in means.iterrows()}


def by_preference(
    scores: pd.DataFrame, arms: Sequence[Arm], labels: int, of: str, measure: str = "accuracy"
) -> list[Arm]:
    """The arms on trial, best mean measure on validation images first; ties keep their order."""
    found = per_seed(scores, labels, "validation", of, measure)
    on_trial = [arm for arm in arms if arm.is_on_trial]
    return sorted(on_trial, key=lambda arm: -float(np.mean(found[arm.name])))
