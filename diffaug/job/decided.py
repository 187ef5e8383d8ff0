"""The medium of a new job where its recipe names none: that of its model, or its first sample."""

from __future__ import annotations

from diffaug import storage
from diffaug.extensions import CLIPS
from diffaug.models import checkpoint_of
from diffaug.recipe import Recipe
from diffaug.shards import read_samples
from diffaug.shards.reading import Reading

__all__ = ["with_medium"]


def with_medium(recipe: Recipe, url: str) -> Recipe:
    """The recipe with all that a job of clips freezes; of images, the recipe itself.

    Args:
        recipe: as the user gave it.
        url: of the first shard. One that cannot be read is left to the job, as one of images.

    Raises:
        ConfigError: a field asks for what the medium has not, or the model cannot be found.
    """
    card = checkpoint_of(recipe).card
    frames = card.frames if card else None
    medium = recipe.medium or ("clip" if frames else _found(recipe, url))
    given = {name: getattr(recipe, name) for name in recipe.model_fields_set}
    checked = Recipe.of(given | {"medium": medium})
    if medium == "image":
        return recipe
    noise_time = checked.noise_time or (None if frames else "shared")
    return recipe.model_copy(update={"medium": medium, "noise_time": noise_time})


def _found(recipe: Recipe, url: str) -> str:
    reading = Reading.of(recipe)
    try:
        with storage.open_read(url) as stream:
            for sample in read_samples(stream, lambda _: False):
                if any(name in reading.image_keys for name in sample.names):
                    return "image"
                if any(name in CLIPS for name in sample.names):
                    return "clip"
    except OSError:
        pass
    return "image"
