"""What the test images say of the arm that validation images choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffaug.evaluation.arms import Arm
from diffaug.evaluation.kinds import DIFFUSION, IMAGES, Kind
from diffaug.evaluation.statistics import (
    ALPHA,
    Estimate,
    difference,
    exceeds,
    from_images,
    over_images,
    smallest_visible,
)
from diffaug.evaluation.trials.scores import by_preference, per_seed
from diffaug.evaluation.trials.seen import Seen

__all__ = ["Evidence", "weigh"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The effect of what is on trial on classifiers of one budget, on one kind of test image.

    Each interval and each p-value stands for itself.

    Attributes:
        labels: labelled images per class; ALL: as many as there are.
        of: `clean` or `corrupted`.
        measure: what is compared: `accuracy` or `balanced`.
        arm: the arm chosen on validation images.
        strength: its strength; None if it was made elsewhere.
        runner_up: the arm that came second on validation images; None if there is no other.
        lead: the arm's difference to the runner-up on validation images.
        gain: the arm's difference to the baseline on test images, over seeds.
        gain_over_images: the same over seeds and test images; None without records by image.
        rival: the control that the arm beats with the least certainty; None without controls.
        margin: the arm's difference to the rival, over seeds.
        margin_over_images: its least certain difference to a control over seeds and test images,
            where it beats all of them over seeds; None otherwise.
        untried: the controls that "helps" requires and that were not tried.
        better: p of "it is no better than the baseline, or than a control", over seeds and, if that
            is known, over seeds and test images.
        worse: p of "it is no worse than the baseline", likewise.
        visible: the smallest gain that these seeds, differing as they do, would mostly show.
        left: half of the interval that any number of seeds would leave, with these test images;
            None without records by image.
    """

    labels: int
    of: str
    measure: str
    arm: str
    strength: float | None
    runner_up: str | None
    lead: Estimate | None
    gain: Estimate
    gain_over_images: Estimate | None
    rival: str | None
    margin: Estimate | None
    margin_over_images: Estimate | None
    untried: tuple[str, ...]
    better: float
    worse: float
    visible: float
    left: float | None


def weigh(
    scores: pd.DataFrame,
    arms: Sequence[Arm],
    labels: int,
    of: str,
    measure: str = "accuracy",
    seen: Seen | None = None,
    kind: Kind = IMAGES,
) -> Evidence | None:
    """Weigh the arm that validation images choose; None if no arm is on trial.

    That it is better than the baseline and every control is an intersection-union test: each
    comparison at its own level, and the whole at the same (Berger 1982). What a classifier owes to
    its seed shows on validation and on test images, so the choice is made anew for each seed, by
    the validation images of the others: it is as good as made elsewhere, and needs no correction.

    Args:
        scores: see `trials.scores.scores_table`.
        arms: all arms that were trained.
        labels: the budget.
        of: kind of image to choose and to judge on: `clean` or `corrupted`.
        measure: what is compared: `accuracy` or `balanced`.
        seen: what each arm was right about, of this budget and kind.
        kind: images or texts.
    """
    preferred = by_preference(scores, arms, labels, of, measure)
    if not preferred:
        return None
    chosen, *others = preferred
    validation, test = (
        per_seed(scores, labels, split, of, measure) for split in ("validation", "test")
    )
    picked = _picked(preferred, validation)
    ours = np.array([test[arm.name][seed] for seed, arm in enumerate(picked)])
    controls = [
        arm
        for arm in arms
        if not arm.is_on_trial and arm.family != kind.baseline and arm.rival_for in (None, of)
    ]
    margins = {arm.name: difference(ours, test[arm.name]) for arm in controls}
    rival = min(margins, key=lambda name: margins[name].low, default=None)
    gain = difference(ours, test[kind.baseline])
    gain_over_images = margin_over_images = left = None
    better = max(exceeds(ours, test[name]) for name in (kind.baseline, *margins))
    worse = exceeds(test[kind.baseline], ours)
    if seen is not None:
        right = np.stack([seen.right[arm.name][seed] for seed, arm in enumerate(picked)])
        left = from_images(right, seen.right[kind.baseline], seen.weights)
        gain_over_images = over_images(right, seen.right[kind.baseline], seen.weights)
        worse = max(worse, gain_over_images.not_below)
        if better <= ALPHA:
            found = [over_images(right, seen.right[name], seen.weights) for name in margins]
            margin_over_images = min(found, key=lambda one: one.low, default=None)
            better = max(better, *(one.not_above for one in (gain_over_images, *found)))
    return Evidence(
        labels=labels,
        of=of,
        measure=measure,
        arm=chosen.name,
        strength=chosen.strength,
        runner_up=others[0].name if others else None,
        lead=difference(validation[chosen.name], validation[others[0].name]) if others else None,
        gain=gain,
        gain_over_images=gain_over_images,
        rival=rival,
        margin=None if rival is None else margins[rival],
        margin_over_images=margin_over_images,
        untried=_untried(chosen, arms, of, kind),
        better=better,
        worse=worse,
        visible=smallest_visible(float(np.std(ours - test[kind.baseline], ddof=1)), len(ours)),
        left=left,
    )


def _picked(on_trial: Sequence[Arm], validation: Mapping[str, NDArray[np.float64]]) -> list[Arm]:
    """For each seed, the arm that the validation images of all other seeds choose."""
    values = np.stack([validation[arm.name] for arm in on_trial])
    others = values.sum(axis=1, keepdims=True) - values
    return [on_trial[place] for place in others.argmax(axis=0)]


def _untried(chosen: Arm, arms: Sequence[Arm], of: str, kind: Kind) -> tuple[str, ...]:
    """The controls without which it is not known whether the diffusion model has any part in it.

    Samples of no labelled one are matched by none.
    """
    if chosen.own:
        return ()
    tried = {arm.family for arm in arms if arm.rival_for == of}
    measure = " of its PSNR" if kind is IMAGES else " of as many words"
    missing = [f"{name}{measure}" for name in kind.matched if name not in tried]
    rest = "+".join(part for part in chosen.parts if part not in DIFFUSION)
    if chosen.made is not None and rest and rest not in {arm.family for arm in arms}:
        missing.append(f"{rest} alone")
    return tuple(missing)
