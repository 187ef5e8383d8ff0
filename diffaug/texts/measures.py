"""How far two texts are from each other."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

__all__ = ["edit_distance", "text_scores", "words_of"]

_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Its words, and each other sign that is no space by itself."""
    return _WORD.findall(text)


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words must be inserted, deleted or replaced between two texts (Levenshtein 1966)."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*one, *other]))}
    target = np.array([numbers[word] for word in other], dtype=np.int64)
    steps = np.arange(len(other) + 1)
    row = steps.copy()
    for place, word in enumerate(one, start=1):
        new = np.minimum(row[:-1] + (target != numbers[word]), row[1:] + 1)
        # an insertion costs one more than what is to the left: a running minimum
        row = np.minimum.accumulate(np.concatenate([[place], new]) - steps) + steps
    return int(row[-1])


def text_scores(source: str, result: str) -> dict[str, float | None]:
    """`score_edit` of a result: the edit distance in words, over the longer text's number."""
    one, other = words_of(source), words_of(result)
    longer = max(len(one), len(other))
    return {"score_edit": edit_distance(one, other) / longer if longer else 0.0}
