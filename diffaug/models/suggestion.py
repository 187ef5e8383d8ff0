"""What a model's card suggests: the defaults of fields that a recipe leaves unset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffaug.errors import ConfigError
from diffaug.models.card import known_cards
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.load import checkpoint_of
from diffaug.recipe import Recipe

__all__ = ["Suggestion", "suggestion_for", "with_suggestions", "with_taught_guidance"]


@dataclass(frozen=True)
class Suggestion:
    """The values that a recipe takes from a card; `str` of it states them and their origin.

    Attributes:
        origin: where the suggestion comes from.
        fields: the values by field, checked as a recipe's are; empty if the card suggests none, or
            the recipe sets them all.
    """

    origin: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.fields)

    def __str__(self) -> str:
        values = ", ".join(f"{name} {_show(value)}" for name, value in self.fields.items())
        return f"{values}: suggested by {self.origin}"


def suggestion_for(recipe: Recipe, checkpoint: Checkpoint) -> Suggestion:
    """What a recipe takes from the card of its model.

    It takes strength, steps and sampler, each only if the recipe does not set it. It never takes
    condition or guidance, which are right only if the user's classes are the model's; but where a
    recipe says that they are, a distilled model has the guidance that it was taught.

    Args:
        recipe: as the user gave it (`model_fields_set` holds what it sets).
        checkpoint: its model. If its own card suggests nothing and it is a public model that
            diffaug lists, the list's suggestion applies.

    Raises:
        ConfigError: the card suggests a value that no recipe can have.
    """
    suggested, origin = _suggested(checkpoint)
    unset = _unset(recipe)
    if unset and not isinstance(suggested, Mapping):
        raise ConfigError(
            f"{origin}: suggested must be a mapping of fields, such as steps: 20, got {suggested!r}"
        )
    taken = {name: suggested[name] for name in unset if name in suggested}
    checked = Recipe.of(taken, where=f"{origin}, suggested")
    fields = {name: getattr(checked, name) for name in taken}
    return Suggestion(origin, fields | _taught_guidance(recipe, checkpoint))


def with_suggestions(recipe: Recipe, checkpoint: Checkpoint | None = None) -> Recipe:
    """The recipe with strength, steps and sampler set, and for the frames of a clip noise_time.

    A field that it does not set becomes the card's suggestion or, without one, the field's default.
    A recipe that sets all of them is returned unchanged, and a second call changes nothing.

    Args:
        recipe: as the user gave it.
        checkpoint: its model; if None, it is found by its name when needed.

    Raises:
        ConfigError: there is no such model, or its card suggests what no recipe can have.
    """
    unset, shares = _unset(recipe), recipe.medium == "clip" and recipe.noise_time is None
    if not unset and not shares and not _asks_for_guidance(recipe):
        return recipe
    checkpoint = checkpoint or checkpoint_of(recipe)
    fields = suggestion_for(recipe, checkpoint).fields
    update = {name: getattr(recipe, name) for name in unset} | {**fields}
    if recipe.medium == "text" and "sampler" in unset and "sampler" not in fields:
        update["sampler"] = "random"
    if shares and checkpoint.frames is None:
        update["noise_time"] = "shared"
    return recipe.model_copy(update=update) if update else recipe


def _unset(recipe: Recipe) -> list[str]:
    return [name for name in Recipe.suggested if name not in recipe.model_fields_set]


def with_taught_guidance(recipe: Recipe, checkpoint: Checkpoint) -> Recipe:
    """The recipe with the guidance of a distilled model, if it leaves that to the model."""
    found = _taught_guidance(recipe, checkpoint)
    return recipe.model_copy(update=found) if found else recipe


def _taught_guidance(recipe: Recipe, checkpoint: Checkpoint) -> dict[str, float]:
    taught = checkpoint.card.taught if checkpoint.card else None
    return {"guidance": taught.guidance} if taught and _asks_for_guidance(recipe) else {}


def _asks_for_guidance(recipe: Recipe) -> bool:
    """Whether a distilled model's own guidance is what the recipe leaves unset."""
    return recipe.condition == "label" and "guidance" not in recipe.model_fields_set


def _suggested(checkpoint: Checkpoint) -> tuple[Any, str]:
    """What a model's card suggests, and which card it is."""
    origin = f"the card of {checkpoint.reference}"
    if checkpoint.card is not None and checkpoint.card.suggested:
        return checkpoint.card.suggested, origin
    if checkpoint.revision is not None:
        for card in known_cards():
            if card.name == checkpoint.reference:
                return card.suggested, f"diffaug's list of public models for {card.name}"
    return {}, origin


def _show(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
