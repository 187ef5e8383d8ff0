"""What stays of a sequence, against the distances of a plain loop."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from diffaug.texts import alignment
from diffaug.texts.alignment import kept


def distance(one: list[str], other: list[str]) -> int:
    """Wagner & Fischer 1974."""
    row = list(range(len(other) + 1))
    for i, element in enumerate(one, start=1):
        before, row = row, [i]
        for j, own in enumerate(other, start=1):
            row.append(min(before[j - 1] + (element != own), before[j] + 1, row[j - 1] + 1))
    return row[-1]


def cost(one: list[str], other: list[str], pairs: list[tuple[int, int]]) -> int:
    """Of going from one to the other if just these are kept."""
    ends = [(-1, -1), *pairs, (len(one), len(other))]
    between = pairwise(ends)
    return sum(max(i - a - 1, j - b - 1) for (a, b), (i, j) in between)


@pytest.mark.parametrize("most", [1, 30, 1 << 20])
def test_a_cheapest_way_is_found(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece, or cut into many."""
    monkeypatch.setattr(alignment, "_MOST", most)
    drawn = random.Random(0)
    for _ in range(150):
        one = drawn.choices("abcd", k=drawn.randrange(25))
        other = [element for element in one if drawn.random() < 0.8]
        for _ in range(drawn.randrange(4)):
            other.insert(drawn.randrange(len(other) + 1), drawn.choice("abcde"))
        pairs = kept(one, other)
        assert all(one[i] == other[j] for i, j in pairs)
        assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))
        assert cost(one, other, pairs) == distance(one, other)


def test_what_repeats_itself_stays_where_it_is() -> None:
    """Where the longest run that both have in common would be another repetition."""
    one = ["the", "film", "is", "long", "."] * 6
    other = [*one]
    for place in (1, 7, 13):
        other[place] = "new"
    assert kept(one, other) == [(n, n) for n in range(30) if n not in (1, 7, 13)]


def test_nothing_has_nothing_in_common() -> None:
    assert kept([], ["a"]) == kept(["a"], []) == kept([], []) == kept(["a"], ["b"]) == []
