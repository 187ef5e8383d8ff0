"""The page of `diffaug try`: a few sources, each next to what its strengths make of it."""

from __future__ import annotations

from diffaug.output.run import the_run
from diffaug.report.cards import Cards
from diffaug.report.render import render
from diffaug.report.rows import Rows

__all__ = ["try_page"]

_SIDE = 512
"""Longest side of a picture in the page, in pixels."""


def try_page(output: str, title: str, *, command: str, cost: str, not_known: str) -> str:
    """The page, as HTML; it is one file and needs no other.

    Args:
        output: OUTPUT of the job that made the pictures.
        title: what was tried.
        command: the command that makes all of them.
        cost: what that would cost, in words.
        not_known: what nobody has measured, in words.

    Raises:
        OSError: storage failed.
    """
    rows, run = Rows(output), the_run(output)
    groups = rows.sources(len(rows.frame))
    places = [place for group in groups for place in group]
    cards = Cards(rows.whole(places), output, run.recipe, side=_SIDE)
    strips = [cards.strip(group) for group in groups]
    recipe, model = run.recipe, run.model.name
    steps = "" if recipe.sampler == "one-step" else f" in {recipe.steps} steps"
    things = "texts" if recipe.medium == "text" else "pictures"
    given = "its class" if recipe.condition == "label" else "no class"
    return render(
        "try.html",
        output=title,
        made=f"Each source, and what {model} makes of it at each strength, by {recipe.sampler}"
        f"{steps}, given {given}. Choose the highest strength whose {things} are still good.",
        strips=strips,
        across=1 + max(len(strip.cards) for strip in strips),
        command=command,
        cost=_sentence(cost),
        not_known=_sentence(not_known),
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
