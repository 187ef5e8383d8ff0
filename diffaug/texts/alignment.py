"""Which elements of a sequence are left as they were in another.

A cheapest way from one to the other inserts, deletes or replaces as few elements as possible
(Levenshtein 1966). Where several ways are as cheap, one is taken from the ends backwards, which
keeps rather than replaces, and replaces rather than deletes or inserts. Of long sequences only two
rows of the distances fit into memory: they are cut where a cheapest way passes, and each half is
done by itself (Hirschberg 1975, https://doi.org/10.1145/360825.360861).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["distances", "kept", "numbered"]

_MOST = 1 << 20
"""How many distances are held in memory at a time."""

Numbers = NDArray[np.int64]


def numbered(one: Sequence[Hashable], other: Sequence[Hashable]) -> tuple[Numbers, Numbers]:
    """Both sequences as numbers, equal where their elements are."""
    numbers = {element: number for number, element in enumerate(dict.fromkeys([*one, *other]))}
    first, second = ([numbers[element] for element in own] for own in (one, other))
    return np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)


def distances(one: Numbers, other: Numbers) -> Iterator[Numbers]:
    """The distances of each beginning of one (N,), shortest first, to all of the other (M + 1,).

    There are N + 1 of them, and the last one ends with the distance of the whole sequences.
    """
    steps = np.arange(len(other) + 1)
    row = steps
    yield row
    for place, element in enumerate(one.tolist(), start=1):
        new = np.minimum(row[:-1] + (other != element), row[1:] + 1)
        # an insertion costs one more than what is to the left: a running minimum
        row = np.minimum.accumulate(np.concatenate([[place], new]) - steps) + steps
        yield row


def kept(one: Sequence[Hashable], other: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The places in both of the elements that a cheapest way from one to the other keeps."""
    return list(_kept(*numbered(one, other), 0, 0))


def _kept(one: Numbers, other: Numbers, here: int, there: int) -> Iterator[tuple[int, int]]:
    """See `kept`; of sequences that begin at these places of the whole ones."""
    if len(one) < 2 or len(one) * len(other) <= _MOST:
        yield from ((here + i, there + j) for i, j in _traced(one, other))
        return
    half = len(one) // 2
    (before,) = deque(distances(one[:half], other), maxlen=1)
    (behind,) = deque(distances(one[half:][::-1], other[::-1]), maxlen=1)
    cut = int((before + behind[::-1]).argmin())
    yield from _kept(one[:half], other[:cut], here, there)
    yield from _kept(one[half:], other[cut:], here + half, there + cut)


def _traced(one: Numbers, other: Numbers) -> list[tuple[int, int]]:
    rows = list(distances(one, other))
    i, j, found = len(one), len(other), []
    while i and j:
        same = one[i - 1] == other[j - 1]
        if rows[i][j] == rows[i - 1][j - 1] + (not same):
            i, j = i - 1, j - 1
            if same:
                found.append((i, j))
        elif rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return found[::-1]
