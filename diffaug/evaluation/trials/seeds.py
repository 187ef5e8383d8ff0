"""How many seeds an evaluation takes: all of them or, with `until`, as many as it needs."""

from __future__ import annotations

from collections.abc import Sequence

from diffaug.evaluation.arms import Arm, arms_of
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.settings import FIRST_SEEDS
from diffaug.evaluation.statistics import is_known
from diffaug.evaluation.trials.record import Trial, read_trial
from diffaug.evaluation.trials.scores import by_preference, per_seed, scores_table
from diffaug.evaluation.trials.seen import read_seen

__all__ = ["seeds_needed"]


def seeds_needed(plan: EvaluationPlan, output: str) -> int:
    """How many seeds were enough or, if none were yet, how many to do next, with their images.

    They are enough once every verdict's gain is known to `until` points, over seeds and over seeds
    and test images, or is not because there are too few test images. Whether a gain is there
    has no part in it: to stop once it seems to be would find some where there is none.

    Args:
        plan: the evaluation.
        output: its OUTPUT.
    """
    settings, arms = plan.settings, arms_of(plan.settings)
    if settings.until is None:
        return settings.seeds
    trials = list[Trial]()
    for count in range(1, settings.seeds):
        for labels in settings.labels:
            found = [read_trial(output, arm, labels, count - 1) for arm in arms]
            if None in found:
                return max(count, FIRST_SEEDS)
            trials += [trial for trial in found if trial is not None]
        if count >= FIRST_SEEDS and _are_enough(plan, output, arms, trials, count):
            return count
    return settings.seeds


def _are_enough(
    plan: EvaluationPlan, output: str, arms: Sequence[Arm], trials: Sequence[Trial], count: int
) -> bool:
    settings, scores = plan.settings, scores_table(trials)
    assert settings.until is not None
    for labels in settings.labels:
        for of in settings.kind.chosen_for:
            chosen = by_preference(scores, arms, labels, of, settings.measure)
            if not chosen:
                return True
            pair = (chosen[0], Arm(settings.kind.baseline))
            ours, theirs = (
                per_seed(scores, labels, "test", of, settings.measure)[arm.name] for arm in pair
            )
            seen = read_seen(plan, output, pair, labels, count, of)
            right = None if seen is None else (seen.right[pair[0].name], seen.right[pair[1].name])
            weights = None if seen is None else seen.weights
            if not is_known(ours, theirs, settings.until, right, weights):
                return False
    return True
