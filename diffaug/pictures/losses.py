"""What a result loses of its picture where the picture's detail is not kept: colour, sharpness.

A model of greys makes grey results, and one of 32x32 a blur of a photograph. Neither is an error,
and a person who asked for it gets it; but nobody should find it out from a finished dataset.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import cache

from diffaug.pictures.fit import Loss
from diffaug.recipe import Recipe

__all__ = ["are_asked_for", "can_lose", "sentences", "warn"]

_log = logging.getLogger(__name__)


def can_lose(recipe: Recipe) -> bool:
    """Whether a recipe leaves the detail of any picture to the model."""
    return recipe.detail == "none" or recipe.result == "model"


def are_asked_for(recipe: Recipe) -> bool:
    """Whether the user named what losses come from: the model, and whose detail a result has."""
    named = recipe.model_fields_set
    return "model" in named and not named.isdisjoint({"detail", "result"})


def sentences(
    found: Iterable[Loss], recipe: Recipe, shape: tuple[int, ...], which: str = ""
) -> Iterator[str]:
    """What results of a recipe lose, each with its cure.

    Args:
        found: what they lose.
        recipe: the recipe.
        shape: (C, H, W) of the model.
        which: whose results, such as "12 of the first 16 pictures".
    """
    keep = "result" if recipe.result == "model" else "detail"
    given = f"{keep}={getattr(recipe, keep)}"
    of = f" ({which})" if which else ""
    for loss in found:
        if loss == "colour":
            yield (
                f"with {given}, colour pictures{of} lose their colour, since model {recipe.model} "
                f"is grey: leave {keep} out, and only the lightness changes, or give a colour model"
            )
        else:
            yield (
                f"with {given}, pictures{of} more than twice as large as model {recipe.model}, of "
                f"{shape[2]}x{shape[1]}, become a blur: leave {keep} out, and they stay sharp, or "
                "give a larger model"
            )


def warn(found: Iterable[Loss], recipe: Recipe, shape: tuple[int, ...]) -> None:
    """Log what results lose, each sentence once a process."""
    for sentence in sentences(found, recipe, shape):
        _warn_once(sentence)


@cache
def _warn_once(sentence: str) -> None:
    _log.warning("%s", sentence)
