"""Leakage: what the diffusion model knows that other arms do not."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["leakage", "transfer"]


def leakage(
    saw: str | None,
    condition: str,
    one_set: bool,
    judges: Sequence[str],
    elsewhere: Sequence[str] = (),
    noun: str = "image",
) -> str:
    """What arms on trial know of labels and images that the others do not, as one sentence or two.

    Args:
        saw: what the diffusion model was trained on (see `Evaluation.model_saw`); None if it
            has made no image.
        condition: what conditions it: none or label.
        one_set: whether all seeds and budgets use the same labelled images.
        judges: the recipe's judges, which may know classes.
        elsewhere: the names of arms of samples that another tool made.
        noun: what a sample is called.
    """
    if saw is None and not elsewhere:
        return f"Leakage: none. The diffusion model made no {noun}."
    if saw is None:
        made = ", ".join(elsewhere)
        return f"Leakage: what made the {noun}s of {made}, and from what, is not known."
    known = [judge.partition("=")[0] for judge in judges]
    tail = ""
    if {"label", "clip"} & set(known):
        tail = " Filters use a judge of the recipe, which may know classes that no arm was given."
    if elsewhere:
        tail += f" What made the {noun}s of {', '.join(elsewhere)}, and from what, is not known."
    match saw:
        case "labelled" if one_set:
            fact = f"The diffusion model was trained only on the labelled {noun}s."
            return f"Leakage: none known. {fact}" if not tail else f"Leakage: {fact}{tail}"
        case "labelled":
            fact = (
                f"The diffusion model was trained on labelled {noun}s, which differ between seeds "
                f"or budgets: it has seen {noun}s that some classifiers were not given."
            )
        case "unknown":
            fact = (
                "It is not known what the diffusion model was trained on (declare it with "
                f"--model-saw): a gain may come from {noun}s that the other arms never saw."
            )
        case "classes" if condition == "label":
            fact = (
                f"The diffusion model was trained on other {noun}s of this kind with their "
                "classes, and is conditioned on the class: it passes on labels that the other arms "
                "never had, so its gains are not comparable with theirs."
            )
        case "classes":
            fact = (
                f"The diffusion model was trained on other {noun}s of this kind, with their "
                "classes, which the other arms never saw: a gain may come from there."
            )
        case _:
            fact = (
                f"The diffusion model was trained on other {noun}s of this kind, without their "
                "classes, which the other arms never saw: a gain may come from there."
            )
    return f"Leakage: {fact}{tail}"


def transfer(saw: str | None, condition: str, labels: int) -> str:
    """What a gain is owed to, if the diffusion model passes on classes that it learned elsewhere.

    Args:
        saw: as for `leakage`.
        condition: likewise.
        labels: how many labels it learned from; 0 if that is not known.

    Returns:
        The end of a sentence; empty if nothing of the kind is known.
    """
    if saw != "classes" or condition != "label":
        return ""
    return f"by what the model learned from {labels or 'other'} labels of these classes"
