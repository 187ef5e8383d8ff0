"""How far two texts are from each other, against the distance as textbooks write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffaug.texts.measures import edit_distance, text_scores, words_of


def levenshtein(one: list[str], other: list[str]) -> int:
    """Wagner and Fischer 1974: a table of the distances of all beginnings."""
    table = [[i + j for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i, word in enumerate(one, start=1):
        for j, there in enumerate(other, start=1):
            replaced = table[i - 1][j - 1] + (word != there)
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, replaced)
    return table[-1][-1]


WORDS = st.lists(st.sampled_from("abcde"), max_size=12)


@given(WORDS, WORDS)
def test_the_distance_is_that_of_the_table(one: list[str], other: list[str]) -> None:
    assert edit_distance(one, other) == levenshtein(one, other)


TEXTS = st.text(st.sampled_from("ab ,.\n\u00e9\u0301"), max_size=20)


@given(TEXTS, TEXTS)
def test_the_score_is_the_share_of_words(one: str, other: str) -> None:
    score = text_scores(one, other)["score_edit"]
    words = [words_of(one), words_of(other)]
    longer = max(map(len, words))
    assert score == (levenshtein(*words) / longer if longer else 0)
    assert 0 <= score <= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's  well-made,\nnot so?", ["It", "'", "s", "well", "-", "made", ",", "not", "so", "?"]),
        ("3.5 naïve …", ["3", ".", "5", "naïve", "…"]),
        (" \t\r\n", []),
        ("", []),
    ],
)
def test_signs_are_words_and_spaces_are_not(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("one", "other", "score"),
    [
        ("a b c d", "a x c d", 1 / 4),
        ("a b c d", "a b", 1 / 2),
        ("", "a b", 1),
        ("", "", 0),
        ("A  b", "A b", 0),
    ],
)
def test_by_hand(one: str, other: str, score: float) -> None:
    assert text_scores(one, other) == {"score_edit": score}
