"""The trials as tables: one row a score, and one row an arm."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffaug.evaluation.arms import BASELINE, Arm, arms_of
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.statistics import difference, estimate
from diffaug.evaluation.trials import Trial, read_trial

__all__ = ["CLEAN", "CORRUPTED", "per_seed", "read_trials", "scores_table", "summary_table"]

CLEAN, CORRUPTED = "clean", "corrupted"
"""What accuracy is of: images as they are, and the mean over all corruptions and severities."""


def read_trials(plan: EvaluationPlan, output: str) -> tuple[list[Trial], int]:
    """The trials that were done, and how many are missing."""
    settings = plan.settings
    found = [
        read_trial(output, arm, labels, seed)
        for labels in settings.labels
        for seed in range(settings.seeds)
        for arm in arms_of(settings)
    ]
    done = [trial for trial in found if trial is not None]
    return done, len(found) - len(done)


def scores_table(trials: list[Trial]) -> pd.DataFrame:
    """One row for every trial, split, corruption and severity; accuracy in points of a hundred."""
    return pd.DataFrame(
        [
            {
                "arm": Arm(trial.family, trial.strength).name,
                "family": trial.family,
                "strength": trial.strength,
                "labels": trial.labels,
                "seed": trial.seed,
                "copies": trial.copies,
                "steps": trial.steps,
                "seconds": trial.seconds,
                "split": score.split,
                "corruption": score.corruption,
                "severity": score.severity,
                "right": score.right,
                "images": score.images,
                "accuracy": 100 * score.right / score.images,
            }
            for trial in trials
            for score in trial.scores
        ]
    )


def per_seed(
    scores: pd.DataFrame, labels: int, split: str, of: str
) -> dict[str, NDArray[np.float64]]:
    """The accuracy of each arm, (seeds,), in points of a hundred.

    Args:
        scores: see `scores_table`.
        labels: the budget.
        split: `test` or `validation`.
        of: CLEAN, CORRUPTED, or one corruption, whose severities are averaged.
    """
    rows = scores[(scores["labels"] == labels) & (scores["split"] == split)]
    rows = rows[rows["corruption"] != CLEAN] if of == CORRUPTED else rows[rows["corruption"] == of]
    means = rows.groupby(["arm", "seed"])["accuracy"].mean().unstack("seed")
    return {str(arm): values.to_numpy() for arm, values in means.iterrows()}


def summary_table(scores: pd.DataFrame, arms: list[Arm]) -> pd.DataFrame:
    """One row for every budget, arm and kind of test image: means, and differences to BASELINE.

    The intervals of differences hold together for all arms of a budget and a kind.
    """
    kinds = [CLEAN, CORRUPTED, *scores["corruption"][scores["severity"] > 0].unique()]
    rows = []
    for labels in scores["labels"].unique():
        for of in kinds:
            values = per_seed(scores, labels, "test", of)
            for arm in arms:
                mean = estimate(values[arm.name])
                gain = difference(values[arm.name], values[BASELINE], len(arms) - 1)
                rows.append(
                    {
                        "labels": labels,
                        "of": of,
                        "arm": arm.name,
                        "family": arm.family,
                        "strength": arm.strength,
                        "seeds": len(values[arm.name]),
                        "accuracy": mean.mean,
                        "accuracy_low": mean.low,
                        "accuracy_high": mean.high,
                        "gain": gain.mean,
                        "gain_low": gain.low,
                        "gain_high": gain.high,
                    }
                )
    return pd.DataFrame(rows)
