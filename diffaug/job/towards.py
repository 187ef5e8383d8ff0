"""Copies of another class than their source: which class each is edited towards, and is given.

Editing an image of a frequent class at a high strength, with a rare class as the condition, keeps
its composition and makes an image of the rare class: as Diff-Mix (Wang et al. 2024, arXiv
2403.19600) does between classes, and DiffuLT (Shao et al. 2024, arXiv 2403.05170) to fill rare
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from diffaug.diffusion.noise import SampleRandom
from diffaug.editor import Source
from diffaug.job.balance import copies_by_class, spanned
from diffaug.output.run import Run
from diffaug.pictures.medium import IMAGE
from diffaug.recipe import Recipe

__all__ = ["Targets", "described", "shares", "targets_in"]

Targets = Callable[[Source, Iterable[int]], list[int | None]]
"""The classes of copies of a source; None where that cannot be told, since the source has none."""


def targets_in(run: Run) -> Targets | None:
    """What class copies of a job are edited towards; None: their own."""
    match run.recipe.to_class:
        case "own":
            return None
        case int(number):
            return lambda source, copies: [number for _ in copies]
    by_class = shares(run.class_counts or {})
    seed = run.recipe.seed

    def rarer(source: Source, copies: Iterable[int]) -> list[int | None]:
        own = source.label.number
        if own is None:
            return [None for _ in copies]
        shares, pixels = by_class.get(own, {}), IMAGE.digest(source.stored)
        return [_drawn(shares, SampleRandom(seed, pixels, copy).choice(), own) for copy in copies]

    return rarer


def shares(counts: Mapping[int, int]) -> dict[int, dict[int, float]]:
    """For images of each class, with what probability a copy is edited towards which class.

    The probability of a class is proportional to how many images fewer it has than the image's
    own. Images of the rarest class stay what they are.

    Args:
        counts: of the images of each class.
    """
    found = dict[int, dict[int, float]]()
    for own, most in counts.items():
        lacking = {number: most - count for number, count in counts.items() if count < most}
        total = sum(lacking.values())
        found[own] = {number: lack / total for number, lack in lacking.items()} or {own: 1.0}
    return found


def described(recipe: Recipe, counts: Mapping[int, int]) -> str:
    """How many copies are edited towards each class, as far as chance allows, in a sentence."""
    copies, expected = copies_by_class(recipe, counts), dict.fromkeys(counts, 0.0)
    for own, by_target in shares(counts).items():
        for number, share in by_target.items():
            expected[number] += share * counts[own] * copies[own]
    if not expected:
        return "no image has a class, so that no copy can be edited towards a rarer one"
    return (
        f"images of a class: {spanned(counts.values())}; copies edited towards a class: about "
        f"{spanned(map(round, expected.values()))}"
    )


def _drawn(by_target: Mapping[int, float], u: float, own: int) -> int:
    """The class at `u` in [0, 1) of the cumulated probabilities."""
    for number, share in by_target.items():
        if u < share:
            return number
        u -= share
    return own if not by_target else number
