"""The medium of a new job where its recipe names none: that of its model, or its first sample."""

from __future__ import annotations

from diffaug import storage
from diffaug.extensions import CLIPS
from diffaug.media import as_model_takes, require_medium
from diffaug.models import checkpoint_of
from diffaug.recipe import Recipe
from diffaug.shards import read_samples
from diffaug.shards.reading import Reading

__all__ = ["with_medium"]


def with_medium(recipe: Recipe, url: str) -> Recipe:
    """The recipe with the medium, if that is clips or texts; of images, the recipe itself.

    Args:
        recipe: as the user gave it.
        url: of the first shard. One that cannot be read is left to the job, as one of images.

    Raises:
        ConfigError: a field asks for what the medium has not, the model cannot be found, or what
            reads clips is not installed.
    """
    checkpoint = checkpoint_of(recipe)
    medium: str | None = as_model_takes(recipe, checkpoint).medium
    if medium is None:
        medium = "clip" if checkpoint.frames is not None else _found(recipe, url)
    decided = recipe.model_copy(update={"medium": medium})
    require_medium(decided)
    if medium in ("clip", "text"):
        return decided
    # as recipes said it when there were only images
    return recipe if recipe.medium is None else recipe.model_copy(update={"medium": None})


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
