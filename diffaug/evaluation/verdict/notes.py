"""Notes on an evaluation: facts about images and trials that limit its conclusions."""

from __future__ import annotations

from collections.abc import Sequence

from diffaug.evaluation.images.found import Found
from diffaug.evaluation.kinds import Kind
from diffaug.evaluation.settings import Evaluation, budget
from diffaug.evaluation.trials.record import Trial
from diffaug.evaluation.verdict.evidence import Evidence

__all__ = ["notes_on"]

_OFF = 0.5
"""Largest difference in dB between a matched control and the arm it matches without a note."""


def notes_on(
    settings: Evaluation, found: Found, trials: Sequence[Trial], evidence: Sequence[Evidence]
) -> list[str]:
    """Notes on the images, the trials and the seeds, one sentence or two each."""
    return [
        *_on_samples(settings.kind, found),
        *_on_trials(trials),
        *_on_seeds(settings, found, evidence),
    ]


def _on_seeds(settings: Evaluation, found: Found, evidence: Sequence[Evidence]) -> list[str]:
    """What more seeds could show, and what only more test images could."""
    aim = settings.worth if settings.until is None else settings.until
    short = [one.left for one in evidence if one.left is not None and one.left > aim]
    notes, noun = [], settings.kind.noun
    if any(one.gain_over_images is None for one in evidence):
        notes.append(
            f"Some trainings of an earlier version left no record by {noun}, so verdicts are over "
            f"seeds alone, and may be peculiar to these test {noun}s."
        )
    if short:
        notes.append(
            f"With {found.test} test {noun}s, any number of seeds would leave intervals of up to "
            f"±{max(short):.1f} points over seeds and {noun}s: for less, give more test {noun}s."
        )
    elif settings.until is not None and any(one.gain.half > settings.until for one in evidence):
        notes.append(
            f"The {settings.seeds} seeds there may be were not enough to know every gain to "
            f"{settings.until:g} points."
        )
    return notes


def _on_samples(kind: Kind, found: Found) -> list[str]:
    notes, noun = [], kind.noun
    if found.shared == 1:
        notes.append(
            f"All seeds have the same labelled {noun}s: intervals cover how {noun}s are generated "
            f"and classifiers trained, but not how labelled {noun}s are drawn."
        )
    elif found.shared > 0.1:
        notes.append(
            f"A seed shares {found.shared:.0%} of its labelled {noun}s with another: intervals are "
            "narrower than with draws from a larger source."
        )
    for count, of, among in (
        (found.labelled_in_test, "labelled", "test"),
        (found.validation_in_test, "validation", "test"),
        (found.labelled_in_validation, "labelled", "validation"),
    ):
        if count:
            notes.append(f"{count} {of} {noun}s are also {among} {noun}s, {kind.alike}.")
    if found.left_out:
        notes.append(
            f"{found.left_out} samples were left out; the first one, {found.why[0]} (data.json)."
        )
    return notes


def _on_trials(trials: Sequence[Trial]) -> list[str]:
    notes = []
    filtered = (trial for trial in trials if "filtered" in trial.arm.parts)
    empty = sorted({trial.arm.name for trial in filtered if trial.copies == 0})
    if empty:
        notes.append(
            f"Filters rejected all copies of {', '.join(empty)} in some trainings, which then used "
            "labelled samples instead."
        )
    off = [
        f"{trial.arm.name} with {budget(trial.labels)} ({trial.psnr:.1f} dB, while "
        f"{trial.like} has {trial.like_psnr:.1f} dB)"
        for trial in trials
        if trial.seed == 0
        and trial.psnr is not None
        and trial.like_psnr is not None
        and abs(trial.psnr - trial.like_psnr) > _OFF
    ]
    if off:
        notes.append(
            f"The PSNR differs from that of the matched arm for {'; '.join(off)}. No blur is "
            "stronger than a uniform image, and black and white clip every change."
        )
    return notes
