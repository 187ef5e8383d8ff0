"""Helps, no evidence, hurts: what the numbers say, and what they cannot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from diffaug.evaluation.arms import BASELINE, Arm
from diffaug.evaluation.results import per_seed
from diffaug.evaluation.settings import SAW
from diffaug.evaluation.statistics import Estimate, difference

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
        gain: its difference to BASELINE on the test images, corrected.
        rival: the control that did best on the test images.
        margin: the arm's difference to that one, corrected.
        sentence: all that in words.
    """

    labels: int
    of: str
    word: str
    arm: str
    strength: float
    gain: Estimate
    rival: str
    margin: Estimate
    sentence: str


def judge(scores: pd.DataFrame, arms: list[Arm], labels: int, of: str) -> Verdict | None:
    """Judge the arm that validation images choose, by test images; None without any on trial.

    It helps if it is better than flips and crops and than every control; it hurts if it is worse
    than flips and crops. Each interval is corrected for the number of arms (Bonferroni).

    Args:
        scores: see `results.scores_table`.
        arms: of the evaluation.
        labels: the budget.
        of: CLEAN or CORRUPTED: both chosen and judged on such.
    """
    on_trial = [arm for arm in arms if arm.is_diffusion]
    controls = [arm for arm in arms if not arm.is_diffusion and arm.family != BASELINE]
    if not on_trial:
        return None
    validation = per_seed(scores, labels, "validation", of)
    chosen = max(on_trial, key=lambda arm: float(np.mean(validation[arm.name])))
    test, comparisons = per_seed(scores, labels, "test", of), len(arms) - 1
    assert chosen.strength is not None
    gain = difference(test[chosen.name], test[BASELINE], comparisons)
    margins = {
        arm.name: difference(test[chosen.name], test[arm.name], comparisons) for arm in controls
    }
    # the control that is hardest to be told from: the one the arm beats least surely
    rival = min(margins, key=lambda name: margins[name].low, default=BASELINE)
    margin = margins.get(rival, gain)
    word = _word(gain, margin)
    return Verdict(
        labels, of, word, chosen.name, chosen.strength, gain, rival, margin,
        _sentence(word, labels, of, chosen.name, gain, rival, margin),
    )  # fmt: skip


def _word(gain: Estimate, margin: Estimate) -> str:
    if gain.high < 0:
        return HURTS
    return HELPS if min(gain.low, margin.low) > 0 else NO_EVIDENCE


def _sentence(
    word: str, labels: int, of: str, arm: str, gain: Estimate, rival: str, margin: Estimate
) -> str:
    changes = f"changes accuracy by {_signed(gain)} points against flips and crops"
    begin = f"{labels} labels a class, {of} images: {word}. {arm}, chosen on validation images,"
    if word == HELPS:
        return f"{begin} {changes}, and by {_signed(margin)} against {rival}."
    if word == HURTS:
        return f"{begin} {changes}."
    if gain.low > 0:
        return (
            f"{begin} {changes}; but a control that knows no diffusion does as well: against "
            f"{rival} it is {_signed(margin)}."
        )
    return f"{begin} {changes}: no difference that these seeds could show."


def _signed(value: Estimate) -> str:
    return f"{value.mean:+.1f} [{value.low:+.1f}, {value.high:+.1f}]"


def leakage(saw: str, condition: str) -> str:
    """What the diffusion model knew beyond the labelled images, a sentence."""
    if saw == "labelled":
        return "Leakage: none. The diffusion model was trained on none but the labelled images."
    if saw == "unknown":
        return (
            "Leakage: it is not known what the diffusion model was trained on beyond the labelled "
            "images (--model-saw says it): a gain may come from there."
        )
    told = f"Leakage: the diffusion model was trained on {SAW[saw]}."
    if saw == "classes" and condition == "label":
        return (
            f"{told} Conditioned on the label it passes on what it learned from labels that the "
            "other arms never had: its gains are not comparable with theirs."
        )
    return f"{told} The other arms never saw them: a gain may come from there."
