"""Helps, no evidence, hurts: what the numbers say, and what they cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from diffaug.evaluation.arms import BASELINE, MATCHED, Arm
from diffaug.evaluation.verdict.statistics import Estimate, difference
from diffaug.evaluation.verdict.summary import by_preference, per_seed

__all__ = ["HELPS", "HURTS", "NO_EVIDENCE", "Verdict", "judge", "leakage"]

HELPS, NO_EVIDENCE, HURTS = "helps", "no evidence", "hurts"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What diffusion did for classifiers of one budget, on one kind of test image.

    Attributes:
        labels: labelled images a class.
        of: `clean` or `corrupted`.
        word: HELPS, NO_EVIDENCE or HURTS.
        arm: the arm that the validation images chose.
        strength: its strength.
        runner_up: the arm they would have chosen next; None where there is no other.
        lead: how far ahead of that one the arm was on validation images; not corrected.
        gain: its difference to BASELINE on the test images, corrected.
        rival: the control that it is the least sure to beat; None where there is none.
        margin: the arm's difference to that one on the test images, corrected.
        sentence: all that in words.
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
    """Judge the arm that validation images choose, by test images; None without any on trial.

    It helps if it is better than flips and crops and than every control, a blur and a noise that
    are matched to it among them; it hurts if it is worse than flips and crops. Each interval is
    corrected for the number of arms (Bonferroni).

    Args:
        scores: see `results.scores_table`.
        arms: all that were trained.
        labels: the budget.
        of: `clean` or `corrupted`: both chosen and judged on such.
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
        sentence=f"{labels} labels a class, {of} images: {word}. {chosen.name}, chosen on "
        f"validation images, changes accuracy by {_signed(gain)} points against flips and crops"
        + _rest(word, gain, rival, margin, matched),
    )


def _word(gain: Estimate, margin: Estimate | None) -> str:
    if gain.high < 0:
        return HURTS
    return HELPS if margin is not None and min(gain.low, margin.low) > 0 else NO_EVIDENCE


def _rest(
    word: str, gain: Estimate, rival: str | None, margin: Estimate | None, matched: set[str]
) -> str:
    if word == HURTS:
        return "."
    if gain.low <= 0:
        return ": no difference that these seeds could show."
    if not matched.issuperset(MATCHED) or margin is None:
        return "; but no blur and noise of its strength were tried, which might do as well."
    if margin.low <= 0:
        return f"; but a control may do as well: against {rival} it is {_signed(margin)}."
    return f", and by {_signed(margin)} against {rival}, the control that comes nearest."


def _signed(value: Estimate) -> str:
    return f"{value.mean:+.1f} [{value.low:+.1f}, {value.high:+.1f}]"


def leakage(saw: str, condition: str, one_set: bool, judges: Sequence[str]) -> str:
    """What of labels and images the arms on trial knew and the others did not, a sentence.

    Args:
        saw: what the diffusion model was trained on (see `Evaluation.model_saw`).
        condition: what conditions it: none or label.
        one_set: whether all seeds and budgets have the same labelled images.
        judges: of the recipe, whose filters may know classes.
    """
    known = [judge.partition("=")[0] for judge in judges]
    tail = ""
    if {"label", "clip"} & set(known):
        tail = " Filters ask a judge of the recipe, who may know classes that no arm was told."
    match saw:
        case "labelled" if one_set:
            told = "The diffusion model was trained on none but the labelled images."
            return f"Leakage: none known. {told}" if not tail else f"Leakage: {told}{tail}"
        case "labelled":
            told = (
                "The diffusion model was trained on labelled images, which are not the same for "
                "all seeds and budgets: it has seen what some classifiers were not given."
            )
        case "unknown":
            told = (
                "It is not known what the diffusion model was trained on (--model-saw says it): a "
                "gain may come from images that the other arms never saw."
            )
        case "classes" if condition == "label":
            told = (
                "The diffusion model was trained on other images of this kind with their classes, "
                "and is told the class: it passes on labels that the other arms never had, so its "
                "gains are not comparable with theirs."
            )
        case "classes":
            told = (
                "The diffusion model was trained on other images of this kind, with their classes, "
                "which the other arms never saw: a gain may come from there."
            )
        case _:
            told = (
                "The diffusion model was trained on other images of this kind, without their "
                "classes, which the other arms never saw: a gain may come from there."
            )
    return f"Leakage: {told}{tail}"
