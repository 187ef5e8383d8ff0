"""What a recipe may not ask of a model."""

from __future__ import annotations

from diffaug.errors import ConfigError
from diffaug.models.pretrained import Pretrained
from diffaug.recipe import Recipe
from diffaug.recipe.strength import highest, lowest

__all__ = ["refuse_unfit", "refuse_untaught_noise"]

_NEGATIVE = (("negative_prompt", None), ("guidance_interval", "0.0:1.0"), ("guidance_every", 1))
"""Fields about the call that guidance leads away from, with their defaults."""


def refuse_unfit(recipe: Recipe, model: Pretrained) -> None:
    """Check that a recipe asks a model for nothing that it cannot do.

    Raises:
        ConfigError: it does; the text names the field.
    """
    name, denoiser = f"model {recipe.model}", model.denoiser
    if model.frames is not None and recipe.medium != "clip":
        raise ConfigError(f"model: {name} takes clips of {model.frames} frames; give medium=clip")
    if model.frames is not None and recipe.noise_time is not None:
        raise ConfigError(
            f"noise_time: {name} takes a clip as a whole, whose frames have noise of their own; "
            "leave it out"
        )
    if recipe.condition == "label" and not denoiser.classes:
        cure = "put it into a prompt" if model.prompts else "use condition=none"
        raise ConfigError(f"condition: {name} takes no class; {cure}")
    if isinstance(recipe.to_class, int) and recipe.to_class >= denoiser.classes:
        raise ConfigError(
            f"to_class: {name} has {denoiser.classes} classes, 0 to {denoiser.classes - 1}, got "
            f"{recipe.to_class}"
        )
    if model.prompts is None:
        for field in ("prompt", "negative_prompt", "lora", "embeddings"):
            if getattr(recipe, field):
                raise ConfigError(f"{field}: {name} is not a text-to-image model; leave it out")
        if denoiser.requires_class and recipe.condition == "none":
            raise ConfigError(
                f"condition: {name} requires a class for every image, because its card names no "
                "null_class; use condition=label"
            )
        denoiser.check_classes(recipe.condition == "label", recipe.guidance)
    if model.grid is not None:
        _refuse_untaught(recipe, model)
    if model.embed_guidance is not None:
        why = f"{name} takes guidance as an input and has no negative condition; leave it out"
        _refuse_negative(recipe, why)
    elif model.prompts and recipe.guidance != 1 and not (recipe.prompt or recipe.negative_prompt):
        raise ConfigError("guidance: there is no prompt to guide towards; give one, or guidance=1")
    if recipe.autoencoder and model.autoencoder is None:
        raise ConfigError(
            f"autoencoder: {name} works in pixel space and has no autoencoder to replace"
        )


def _refuse_untaught(recipe: Recipe, model: Pretrained) -> None:
    """Refuse what a distilled model was not taught: its strengths, and its guidance."""
    assert model.grid is not None
    name, last = f"model {recipe.model}", model.denoiser.schedule.num_train_timesteps - 1
    low, high = model.grid[0], model.grid[-1]
    for asked in (lowest(recipe.strength), highest(recipe.strength)):
        if not low <= round(asked * last) <= high:
            raise ConfigError(
                f"strength: {name} was taught strengths from {low / last:.2g} to {high / last:.2g},"
                f" got {asked:g}: give one of these, or use its teacher"
            )
    wanted = model.folded if recipe.condition == "label" and model.folded is not None else 1.0
    if recipe.guidance != wanted:
        told = "told the class" if recipe.condition == "label" else "told no class"
        raise ConfigError(
            f"guidance: {name}, {told}, was taught {wanted:g} alone, got {recipe.guidance:g}: "
            "leave it out, or use its teacher"
        )
    _refuse_negative(recipe, f"{name} makes one call for guidance and class: leave it out")


def _refuse_negative(recipe: Recipe, why: str) -> None:
    """Refuse the fields of `_NEGATIVE`."""
    for field, default in _NEGATIVE:
        if getattr(recipe, field) != default:
            raise ConfigError(f"{field}: {why}")


def refuse_untaught_noise(reference: str, model: Pretrained, guidance: float) -> None:
    """Refuse to draw from pure noise by a model that was taught less, or other guidance.

    Raises:
        ConfigError: it was.
    """
    if model.folded is not None and guidance != 1:
        raise ConfigError(
            f"guidance: {reference} has the guidance that it was taught, {model.folded:g}: leave "
            "it out"
        )
    last = model.denoiser.schedule.num_train_timesteps - 1
    if model.grid is not None and model.grid[-1] < last:
        raise ConfigError(
            f"model {reference}: it was taught strengths up to {model.grid[-1] / last:.2g} alone: "
            "to draw from noise, use its teacher"
        )
