"""A first look at the sources of a new job, for what would ruin its results.

Two mistakes make images without an error: a model of greys or of a fraction of the pictures' size,
whose results replace the pictures; and classes that are numbered otherwise than the model's. They
are refused before anything is made. A recipe with which neither can happen costs no look.
"""

from __future__ import annotations

import logging
from collections import Counter
from itertools import islice

from diffaug import storage
from diffaug.editor import Editor, PictureEditor
from diffaug.errors import ConfigError, DefectError
from diffaug.models import Card
from diffaug.models.classes import Named, compare, described, refusal
from diffaug.pictures.fit import Loss
from diffaug.pictures.losses import are_asked_for, can_lose, sentences, warn
from diffaug.recipe import Recipe
from diffaug.shards import read_samples
from diffaug.shards.reading import TEXT, Reading

__all__ = ["look_at_classes", "look_at_pictures", "refuse_losses"]

_PICTURES = 16
"""How many pictures of the first shard are decoded."""

_SAMPLES = 2000
"""Of how many of its samples the classes are read."""

_log = logging.getLogger(__name__)


def look_at_pictures(url: str, editor: Editor, asked: Recipe) -> None:
    """Look at the first pictures of a shard, for what results would lose of them.

    Args:
        url: the shard's. One that cannot be read is left to the job.
        editor: of the job.
        asked: the recipe as the user gave it.

    Raises:
        ConfigError: results would lose their colour or be blurred, and the user did not name the
            model and the detail. If they did, the log has the sentence.
    """
    if not can_lose(asked) or not isinstance(editor, PictureEditor):
        return
    found, seen = Counter[Loss](), 0
    try:
        with storage.open_whole(url) as source:
            for sample in islice(read_samples(source.stream, editor.reading.reads), _PICTURES):
                try:
                    image, recipe = editor.read(sample).image, editor.recipe
                    how = (recipe.fit, recipe.result, recipe.detail)
                    fit = editor.medium.fit(image, editor.model.shape, *how)
                except DefectError:
                    continue
                seen += 1
                found.update(fit.losses(image))
    except OSError:
        return
    which = {loss: f"{count} of the first {seen}" for loss, count in found.items()}
    refuse_losses(which, asked, editor.model.shape)


def refuse_losses(found: dict[Loss, str], asked: Recipe, shape: tuple[int, ...]) -> None:
    """Refuse a recipe whose results would lose something, unless the user asked for it.

    Args:
        found: what results would lose, and which results.
        asked: the recipe as the user gave it.
        shape: (C, H, W) of the model.

    Raises:
        ConfigError: the user did not name the model and the detail.
    """
    if are_asked_for(asked):
        warn(found, asked, shape)
        return
    for loss, which in found.items():
        (sentence,) = sentences([loss], asked, shape, which)
        raise ConfigError(f"{sentence}; if that is what you want, name both model and detail")


def look_at_classes(url: str, card: Card | None, recipe: Recipe) -> None:
    """Compare the names of the sources' classes with the model's, where both are known.

    Those of the sources are in the description that `diffaug pack` left next to the first shard, or
    in the texts of its samples.

    Args:
        url: of the first shard. One that cannot be read is left to the job.
        card: of the model.
        recipe: the recipe.

    Raises:
        ConfigError: no class has the same name. If some have, the log names the others.
    """
    if recipe.condition != "label" or card is None or not card.classes:
        return
    try:
        names = described(url) or _texts(url, recipe)
    except OSError:
        return
    compared, where = compare(card, names), storage.public_url(url)
    if compared.are_others:
        raise refusal(recipe.model, card, names, where)
    if compared.differ:
        _log.warning(
            "condition: some classes of %s have other names than those of model %s: %s",
            where,
            recipe.model,
            compared,
        )


def _texts(url: str, recipe: Recipe) -> dict[int, str]:
    reading, named = Reading.of(recipe), Named()
    wanted = {recipe.label_key, TEXT}
    with storage.open_whole(url) as source:
        for sample in islice(read_samples(source.stream, wanted.__contains__), _SAMPLES):
            named.add(reading.label(sample))
    return named.names
