"""In which form a caller has the samples of a recipe's medium."""

from __future__ import annotations

from typing import Any, Protocol

from diffaug.online.clips import ClipForm
from diffaug.online.images import ImageForm
from diffaug.online.texts import TextForm
from diffaug.pictures.codec import Decoded
from diffaug.pictures.medium import Value
from diffaug.recipe import Recipe

__all__ = ["Form", "form_of"]


class Form(Protocol):
    """What callers give, and what they are given back."""

    def decoded(self, given: Any) -> Decoded[Value]:
        """The sample in what a caller gave.

        Raises:
            DefectError: the sample in it cannot be used.
            TypeError: it is nothing that holds a sample of this medium.
            ValueError: a tensor or an array has another shape, type or range.
        """

    def like(self, result: Any, given: Any) -> Any:
        """A result in the form of what was given."""

    def listed(self, given: Any) -> tuple[list[Any], bool]:
        """A sample or a batch of them as a list, and whether it is a single one (see `augment`).

        Raises:
            TypeError: it is neither.
        """


def form_of(recipe: Recipe) -> Form:
    """The form of a recipe's medium; undecided, it is the image."""
    if recipe.medium == "text":
        return TextForm(recipe)
    return ClipForm(recipe) if recipe.medium == "clip" else ImageForm(recipe.background)
