"""Easy data augmentation: four small changes of the words of texts.

Wei & Zou 2019 (https://arxiv.org/abs/1901.11196): of a tenth of the words, synonyms in place of
some, synonyms of some put in anywhere, some swapped, or some left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffaug.evaluation.images.pictures import Samples
from diffaug.evaluation.synonyms import Synonyms, synonyms_in

__all__ = ["deletion", "eda_of"]

_SHARE = 0.1
"""How many of the words are changed: as in the paper, which finds it good for any number of
labels."""

_Change = Callable[[list[str], int, np.random.Generator], list[str]]


def eda_of(folder: str) -> Callable[[Samples, np.random.Generator], Samples]:
    """The four changes, one of which is drawn for each text; its synonyms are in WordNet's folder.

    Raises:
        ConfigError: they are not.
    """
    synonyms = synonyms_in(folder)

    def replaced(words: list[str], count: int, random: np.random.Generator) -> list[str]:
        made = list(words)
        for place in random.permutation(_known(words, synonyms))[:count]:
            made[place] = _like(words[place], synonyms, random)
        return made

    def inserted(words: list[str], count: int, random: np.random.Generator) -> list[str]:
        made, known = list(words), _known(words, synonyms)
        for place in random.choice(known, count) if known else ():
            one = _like(words[place], synonyms, random)
            made.insert(int(random.integers(len(made) + 1)), one)
        return made

    changes: tuple[_Change, ...] = (replaced, inserted, _swapped, _left_out)

    def changed(texts: Samples, random: np.random.Generator) -> Samples:
        drawn = random.integers(len(changes), size=len(texts))
        return _each(texts, [changes[which] for which in drawn], random)

    return changed


def deletion(texts: Samples, random: np.random.Generator) -> Samples:
    """Texts without a tenth of their words."""
    return _each(texts, [_left_out] * len(texts), random)


def _each(texts: Samples, changes: list[_Change], random: np.random.Generator) -> Samples:
    made = np.empty_like(texts)
    for place, (text, change) in enumerate(zip(texts, changes, strict=True)):
        words = text.split()
        count = max(1, round(_SHARE * len(words)))
        made[place] = " ".join(change(words, count, random)) if words else text
    return made


def _swapped(words: list[str], count: int, random: np.random.Generator) -> list[str]:
    made = list(words)
    for _ in range(count):
        one, other = random.integers(len(made), size=2)
        made[one], made[other] = made[other], made[one]
    return made


def _left_out(words: list[str], count: int, random: np.random.Generator) -> list[str]:
    left = random.random(len(words)) >= _SHARE
    if not left.any():  # at least one word stays
        left[random.integers(len(words))] = True
    return [word for word, stays in zip(words, left, strict=True) if stays]


def _known(words: list[str], synonyms: Synonyms) -> list[int]:
    """The places of words that have synonyms."""
    return [place for place, word in enumerate(words) if synonyms.get(word.lower())]


def _like(word: str, synonyms: Synonyms, random: np.random.Generator) -> str:
    found = synonyms[word.lower()]
    return found[int(random.integers(len(found)))]
