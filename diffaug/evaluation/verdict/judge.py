"""The verdict on an arm: helps, hurts, no more than a bound, or no evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from diffaug.evaluation.kinds import IMAGES, Kind
from diffaug.evaluation.settings import budget
from diffaug.evaluation.statistics import ALPHA, Estimate, holm
from diffaug.evaluation.verdict.evidence import Evidence

__all__ = ["MEASURED", "Verdict", "judge", "signed"]

MEASURED = {"accuracy": "accuracy", "balanced": "balanced accuracy"}
"""What measures are called."""

_HELPS, _NO_EVIDENCE, _HURTS = "helps", "no evidence", "hurts"


@dataclass(frozen=True, slots=True)
class Verdict(Evidence):
    """Evidence, and what it amounts to.

    Attributes:
        word: `helps`, `hurts`, `no more than X` or `no evidence`.
        sentence: the verdict as a sentence.
        transfer: for an arm that helps, what else it owes that to: labels that the other arms never
            had, as the end of a sentence; empty if to none that are known.
    """

    word: str
    sentence: str
    transfer: str = ""


def judge(
    evidence: Sequence[Evidence], worth: float = 1.0, transfer: str = "", kind: Kind = IMAGES
) -> list[Verdict]:
    """The verdicts of an evaluation, in the order of its evidence.

    An arm helps if it beats the baseline and every control, among them those matched to it; it
    hurts if it is worse than the baseline: over seeds, and over seeds and test images. Both are
    corrected for the number of verdicts (Holm). A gain above `worth` is ruled out, or not, for each
    verdict by itself.

    Args:
        evidence: of all budgets and kinds of image.
        worth: the gain, in points, that would be worth having.
        transfer: see `leakage.transfer`.
        kind: images or texts.
    """
    better = holm([one.better for one in evidence])
    worse = holm([one.worse for one in evidence])
    return [
        _verdict(one, worth, transfer, kind, len(evidence), p <= ALPHA, q <= ALPHA)
        for one, p, q in zip(evidence, better, worse, strict=True)
    ]


def _verdict(
    one: Evidence,
    worth: float,
    transfer: str,
    kind: Kind,
    count: int,
    is_better: bool,
    is_worse: bool,
) -> Verdict:
    images = one.gain_over_images or one.gain
    if is_worse:
        word, rest = _HURTS, "."
    elif is_better and one.margin is not None and not one.untried:
        word = _HELPS
        rest = f", and by {signed(one.margin)} relative to {one.rival}, the closest control."
    elif max(one.gain.high, images.high) <= worth:
        word = f"no more than {worth:g}"
        rest = f": a gain above {worth:g} point{'' if worth == 1 else 's'} is ruled out."
    else:
        word, rest = _NO_EVIDENCE, _why_not(one, count, kind)
    owed = transfer if word == _HELPS and one.strength is not None else ""
    found = f"{word}, {owed}" if owed else word
    return Verdict(
        **{field.name: getattr(one, field.name) for field in fields(one)},
        word=word,
        transfer=owed,
        sentence=f"{budget(one.labels).capitalize()}, {one.of} {kind.noun}s: {found}. {one.arm}, "
        f"chosen on validation {kind.noun}s, changes {MEASURED[one.measure]} by "
        f"{signed(one.gain)} points relative to {kind.without}{rest}",
    )


def _why_not(one: Evidence, count: int, kind: Kind) -> str:
    """Why there is no evidence, as the end of a sentence."""
    corrected = f"once corrected for {count} verdicts" if count > 1 else "here"
    images = [found for found in (one.gain_over_images, one.margin_over_images) if found]
    if one.gain.low <= 0 <= one.gain.high:
        return (
            ": no difference shown by these seeds, which would mostly have shown one of "
            f"{one.visible:.2g} points."
        )
    if one.gain.high < 0:
        if images and images[0].high >= 0:
            return f"; but over seeds and test {kind.noun}s it is {signed(images[0])}."
        return f"; but that is not enough {corrected}."
    if one.margin is not None and one.margin.low <= 0:
        return (
            f"; but a control may do as well: the difference to {one.rival} is "
            f"{signed(one.margin)}."
        )
    if one.untried:
        were = "were" if len(one.untried) > 1 else "was"
        return f"; but {_listed(one.untried)} {were} not tried, which might do as well."
    least = min(images, key=lambda found: found.low, default=None)
    if least is not None and least.low <= 0:
        over = kind.without if least is one.gain_over_images else one.rival
        return (
            f"; but with other test {kind.noun}s it might be otherwise: over seeds and test "
            f"{kind.noun}s the difference to {over} is {signed(least)}."
        )
    return f"; but that is not enough {corrected}."


def _listed(names: Sequence[str]) -> str:
    """`blur, noise and field`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def signed(value: Estimate) -> str:
    """A difference and its interval, in points: `+1.2 [+0.3, +2.1]`."""
    return f"{value.mean:+.1f} [{value.low:+.1f}, {value.high:+.1f}]"
