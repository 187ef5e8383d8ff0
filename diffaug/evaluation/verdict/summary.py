"""The trials as tables: one row a score, and one row an arm; and what validation images choose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffaug.evaluation.arms import BASELINE, Arm
from diffaug.evaluation.trials.record import Trial
from diffaug.evaluation.verdict.statistics import difference, estimate

__all__ = ["CLEAN", "CORRUPTED", "by_preference", "per_seed", "scores_table", "summary_table"]

CLEAN, CORRUPTED = "clean", "corrupted"
"""What accuracy is of: images as they are, and the mean over all corruptions and severities."""


def scores_table(trials: Iterable[Trial]) -> pd.DataFrame:
    """One row for every trial, split, corruption and severity; accuracy in points of a hundred."""
    return pd.DataFrame(
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


def by_preference(scores: pd.DataFrame, arms: Sequence[Arm], labels: int, of: str) -> list[Arm]:
    """The arms on trial, the one first that does best on validation images; of equals the first."""
    found = per_seed(scores, labels, "validation", of)
    on_trial = [arm for arm in arms if arm.is_diffusion]
    return sorted(on_trial, key=lambda arm: -float(np.mean(found[arm.name])))


def summary_table(scores: pd.DataFrame, arms: Sequence[Arm]) -> pd.DataFrame:
    """One row for every budget, arm and kind of test image: means, and differences to BASELINE.

    The intervals of differences hold together for all arms of a budget and a kind.
    """
    kinds = [CLEAN, CORRUPTED, *scores["corruption"][scores["severity"] > 0].unique()]
    of_arm = scores.drop_duplicates(["labels", "arm", "seed"]).groupby(["labels", "arm"])
    psnr = of_arm["psnr"].mean()
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
                        "psnr": psnr[labels, arm.name],
                        "accuracy": mean.mean,
                        "accuracy_low": mean.low,
                        "accuracy_high": mean.high,
                        "gain": gain.mean,
                        "gain_low": gain.low,
                        "gain_high": gain.high,
                    }
                )
    return pd.DataFrame(rows)
