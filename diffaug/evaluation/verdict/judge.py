"""The verdict on an arm: helps, hurts, or no evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from diffaug.evaluation.arms import BASELINE, MATCHED, Arm
from diffaug.evaluation.trials.scores import by_preference, per_seed
from diffaug.evaluation.verdict.statistics import Estimate, difference

__all__ = ["Verdict", "judge", "signed"]

_HELPS, _NO_EVIDENCE, _HURTS = "helps", "no evidence", "hurts"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The effect of diffusion on classifiers of one budget, on one kind of test image.

    Attributes:
        labels: labelled images per class.
        of: `clean` or `corrupted`.
        word: `helps`, `no evidence` or `hurts`.
        arm: the arm chosen on validation images.
        strength: its strength.
        runner_up: the arm that came second on validation images; None if there is no other.
        lead: the arm's difference to the runner-up on validation images; not corrected.
        gain: the arm's difference to BASELINE on test images, corrected.
        rival: the control that the arm beats with the least certainty; None without controls.
        margin: the arm's difference to the rival on test images, corrected.
        sentence: the verdict as a sentence.
    """

    labels: int
    of: str
    word: str
    arm: str
    strength: float
    runner_up: str | None
    lead: Estimate | None
    gain: Estimate
    rival: str | None
    margin: Estimate | None
    sentence: str


def judge(scores: pd.DataFrame, arms: Sequence[Arm], labels: int, of: str) -> Verdict | None:
    """Judge by test images the arm that validation images choose; None if no arm is on trial.

    It helps if it beats flips and crops and every control, including a blur and a noise matched to
    it; it hurts if it is worse than flips and crops. Each interval is corrected for the number of
    arms (Bonferroni).

    Args:
        scores: see `trials.scores.scores_table`.
        arms: all arms that were trained.
        labels: the budget.
        of: kind of image to choose and to judge on: `clean` or `corrupted`.
    """
    preferred = by_preference(scores, arms, labels, of)
    if not preferred:
        return None
    chosen, *others = preferred
    validation, test = (per_seed(scores, labels, split, of) for split in ("validation", "test"))
    comparisons = len(arms) - 1
    gain = difference(test[chosen.name], test[BASELINE], comparisons)
    margins = {
        arm.name: difference(test[chosen.name], test[arm.name], comparisons)
        for arm in arms
        if not arm.is_diffusion and arm.family != BASELINE and arm.rival_for in (None, of)
    }
    matched = {arm.family for arm in arms if arm.rival_for == of}
    rival = min(margins, key=lambda name: margins[name].low, default=None)
    margin = None if rival is None else margins[rival]
    word = _word(gain, margin if matched.issuperset(MATCHED) else None)
    lead = None
    if others:
        lead = difference(validation[chosen.name], validation[others[0].name], 1)
    assert chosen.strength is not None
    return Verdict(
        labels=labels,
        of=of,
        word=word,
        arm=chosen.name,
        strength=chosen.strength,
        runner_up=others[0].name if others else None,
        lead=lead,
        gain=gain,
        rival=rival,
        margin=margin,
        sentence=f"{labels} labels per class, {of} images: {word}. {chosen.name}, chosen on "
        f"validation images, changes accuracy by {signed(gain)} points relative to flips and crops"
        + _rest(word, gain, rival, margin, matched),
    )


def _word(gain: Estimate, margin: Estimate | None) -> str:
    if gain.high < 0:
        return _HURTS
    return _HELPS if margin is not None and min(gain.low, margin.low) > 0 else _NO_EVIDENCE


def _rest(
    word: str, gain: Estimate, rival: str | None, margin: Estimate | None, matched: set[str]
) -> str:
    if word == _HURTS:
        return "."
    if gain.low <= 0:
        return ": no difference shown by these seeds."
    if not matched.issuperset(MATCHED) or margin is None:
        return "; but no blur and noise of the same PSNR were tried, which might do as well."
    if margin.low <= 0:
        return f"; but a control may do as well: the difference to {rival} is {signed(margin)}."
    return f", and by {signed(margin)} relative to {rival}, the closest control."


def signed(value: Estimate) -> str:
    """A difference and its interval, in points: `+1.2 [+0.3, +2.1]`."""
    return f"{value.mean:+.1f} [{value.low:+.1f}, {value.high:+.1f}]"
