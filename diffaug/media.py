"""The medium of a recipe: what its samples are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffaug.clips.containers import pyav
from diffaug.clips.medium import Clips
from diffaug.errors import require_extra
from diffaug.pictures.medium import IMAGE, Medium, PictureMedium, Value
from diffaug.recipe import Recipe
from diffaug.texts.medium import Texts

if TYPE_CHECKING:
    from diffaug.models import Checkpoint

__all__ = ["as_model_takes", "medium_of", "picture_medium_of", "require_medium"]


def require_medium(recipe: Recipe) -> None:
    """Refuse fields that the recipe's medium has not, and a medium that nothing reads here.

    Raises:
        ConfigError: it is so; the text says what to do.
    """
    recipe.check_medium(recipe.medium or "image")
    if recipe.medium == "clip":
        pyav()
    if recipe.medium == "text":
        require_extra("medium=text", "text", "transformers")


def as_model_takes(recipe: Recipe, checkpoint: Checkpoint) -> Recipe:
    """The recipe as one of texts, if it names no medium and its model is a language model."""
    if recipe.medium is None and checkpoint.is_language_model:
        return recipe.model_copy(update={"medium": "text"})
    return recipe


def medium_of(recipe: Recipe) -> Medium[Value]:
    """The medium of a recipe; undecided, it is the image."""
    return Texts.of(recipe) if recipe.medium == "text" else picture_medium_of(recipe)


def picture_medium_of(recipe: Recipe) -> PictureMedium[Value]:
    """The medium of a recipe for pictures or clips."""
    return Clips.of(recipe) if recipe.medium == "clip" else IMAGE
