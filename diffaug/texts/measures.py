"""How far two texts are from each other."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from diffaug.texts.alignment import distances, numbered

__all__ = ["edit_distance", "text_scores", "words_of"]

_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Its words, and each other sign that is no space by itself."""
    return _WORD.findall(text)


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words must be inserted, deleted or replaced between two texts (Levenshtein 1966)."""
    (last,) = deque(distances(*numbered(one, other)), maxlen=1)
    return int(last[-1])


def text_scores(source: str, result: str) -> dict[str, float | None]:
    """`score_edit` of a result: the edit distance in words, over the longer text's number."""
    one, other = words_of(source), words_of(result)
    longer = max(len(one), len(other))
    return {"score_edit": edit_distance(one, other) / longer if longer else 0.0}
