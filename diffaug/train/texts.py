"""Texts, as a training takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffaug.errors import ConfigError, DefectError
from diffaug.models.families.masked_lm import pieces_of
from diffaug.shards import Sample
from diffaug.shards.reading import Reading
from diffaug.texts.text import read_text
from diffaug.train.data import label_of, read, usable
from diffaug.train.text_recipe import TextRecipe

__all__ = ["Texts", "lengths_of", "words_of"]

_MEASURED, _QUANTILES = 10_000, 33
"""How many texts are counted, and by how many numbers their lengths are described."""


class Texts:
    """Texts (L,), as tokens with what the model puts around them. See `data.Form`.

    Args:
        recipe: of the training.
        tokenizer: of transformers.

    Attributes:
        around: how many tokens the model puts around a text.
    """

    def __init__(self, recipe: TextRecipe, tokenizer: Any) -> None:
        self._recipe = recipe
        self.reading = _reading(recipe)
        self._padding = int(tokenizer.pad_token_id)
        self._pieces = pieces_of(tokenizer, "in training")
        self._before, self._behind = self._pieces.around()
        self.around = len(self._before) + len(self._behind)

    def prepare(
        self, sample: Sample, place: Sequence[int] | None = None
    ) -> tuple[NDArray[np.int64], int]:
        """See `Form`. Of a long text some tokens in a row, at a place that is drawn."""
        recipe = self._recipe
        text = read_text(self.reading.image(sample).data, recipe.text_field)
        found = self._pieces.tokens(text).ids
        if not len(found):
            raise DefectError("nothing_to_change", "the text has no words")
        room = recipe.length - self.around - (recipe.class_count > 0)
        begin = 0
        if len(found) > room and place is not None:
            begin = int(np.random.default_rng((*place, room)).integers(len(found) - room + 1))
        whole = [*self._before, *found[begin : begin + room], *self._behind]
        return np.array(whole, dtype=np.int64), label_of(sample, recipe, self.reading)

    def together(self, samples: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        """See `Form`: padded to the longest."""
        whole = np.full((len(samples), max(map(len, samples))), self._padding, dtype=np.int64)
        for row, one in zip(whole, samples, strict=True):
            row[: len(one)] = one
        return whole


def _reading(recipe: TextRecipe) -> Reading:
    classes = recipe.class_count > 0
    keys = (recipe.text_member,)
    return Reading(keys, recipe.label_key, needs_label=classes, text_key=None)


def lengths_of(form: Texts, shards: list[str]) -> list[int]:
    """Quantiles of the number of tokens of the first texts, which samples are drawn with."""
    first = islice((text for text, _ in usable(shards, form)), _MEASURED)
    counts = [len(text) - form.around for text in first]
    if not counts:
        raise ConfigError("no text of the source can be used, with a class as the recipe asks")
    found = np.quantile(counts, np.linspace(0.02, 0.98, _QUANTILES), method="nearest")
    return [int(count) for count in found]


def words_of(recipe: TextRecipe, shards: list[str]) -> Iterator[str]:
    """The texts of shards, but those that cannot be used."""
    reading = _reading(recipe)
    for shard in shards:
        for sample in read(shard, reading):
            try:
                yield read_text(reading.image(sample).data, recipe.text_field)
            except DefectError:
                continue  # the training says so
