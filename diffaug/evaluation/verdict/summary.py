"""The summary of an evaluation: one row per budget, arm and kind of test image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

from diffaug.evaluation.arms import Arm
from diffaug.evaluation.kinds import IMAGES, Kind
from diffaug.evaluation.statistics import difference, estimate
from diffaug.evaluation.trials.scores import MEASURES, per_seed

__all__ = ["summary_table"]


def summary_table(
    scores: pd.DataFrame,
    arms: Sequence[Arm],
    measure: str = "accuracy",
    making: Mapping[str, float] = MappingProxyType({}),
    kind: Kind = IMAGES,
) -> pd.DataFrame:
    """Means, and differences to the baseline, by budget, arm and kind of test image.

    The intervals of the differences hold jointly for all arms of one budget and kind.

    Args:
        scores: see `trials.scores.scores_table`.
        arms: all arms that were trained.
        measure: what the differences are of: `accuracy` or `balanced`.
        making: seconds that a seed's images of an arm took, at the largest budget, by its name.
        kind: images or texts.
    """
    kinds = [*kind.chosen_for, *scores["corruption"][scores["severity"] > 0].unique()]
    of_arm = scores.drop_duplicates(["labels", "arm", "seed"]).groupby(["labels", "arm"])
    psnr = of_arm["psnr"].mean()
    seconds = of_arm["seconds"].agg(lambda taken: taken[taken > 0].median())
    rows, most = [], scores["labels"].max()

    def cost(labels: int, arm: Arm) -> float:
        """Of a training with its images, in those of the baseline; NaN if it is another arm's."""
        made = making.get(arm.name, 0.0) * (labels / most if most else 1)
        return float((seconds[labels, arm.name] + made) / seconds[labels, kind.baseline])

    for labels in scores["labels"].unique():
        for of in kinds:
            values, further = per_seed(scores, labels, "test", of), dict[str, Any]()
            judged = per_seed(scores, labels, "test", of, measure)
            for name in MEASURES:
                further[name] = per_seed(scores, labels, "test", of, name)
            for arm in arms:
                mean, value = estimate(values[arm.name]), estimate(judged[arm.name])
                gain = difference(judged[arm.name], judged[kind.baseline], max(1, len(arms) - 1))
                rows.append(
                    {
                        "labels": labels,
                        "of": of,
                        "arm": arm.name,
                        "family": arm.family,
                        "strength": arm.strength,
                        "seeds": len(values[arm.name]),
                        "psnr": psnr[labels, arm.name],
                        "cost": cost(labels, arm),
                        "accuracy": mean.mean,
                        "accuracy_low": mean.low,
                        "accuracy_high": mean.high,
                        **{name: found[arm.name].mean() for name, found in further.items()},
                        "measure": measure,
                        "value": value.mean,
                        "value_low": value.low,
                        "value_high": value.high,
                        "gain": gain.mean,
                        "gain_low": gain.low,
                        "gain_high": gain.high,
                    }
                )
    return pd.DataFrame(rows)
