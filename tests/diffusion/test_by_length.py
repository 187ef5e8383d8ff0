"""Texts of several lengths: the same results in the order of the edits, whoever rides with whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffaug.diffusion.by_length import ByLength
from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.masked import Masked, MaskedEdit
from diffaug.diffusion.ordered import RUN_AHEAD
from diffaug.diffusion.parts import InParts
from tests.support.jobs import threads
from tests.support.text_edits import edit_of, run_alone, toy

LENGTHS = (8, 16, 24)
Stepped = list[tuple[int, int]]
"""(length, lanes that took part) of each step."""


class Watched(Masked):
    """Writes down how many lanes take part in each step."""

    def __init__(self, length: int, lanes: int, stepped: Stepped) -> None:
        super().__init__(toy(), lanes, length)
        self._length, self._stepped = length, stepped

    def step(self, stepping: NDArray[np.bool_], call: NDArray[np.int64]) -> None:
        self._stepped.append((self._length, int(stepping.sum())))
        super().step(stepping, call)


def by_length(lanes: int, stepped: Stepped | None = None) -> ByLength[Any]:
    with threads(1):
        into: Stepped = [] if stepped is None else stepped
        return ByLength[Any](lambda length: Lanes(Watched(length, lanes, into)), lanes)


def stream(count: int, seed: int = 0) -> list[MaskedEdit]:
    random = np.random.default_rng(seed)
    return [
        edit_of(number, int(random.choice(LENGTHS)), int(random.integers(1, 7)))
        for number in range(count)
    ]


EDITS = stream(24)
WANTED = [run_alone(toy(), edit).tolist() for edit in EDITS]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.integers(0, len(EDITS) - 1), max_size=60), st.integers(1, 4))
def test_results_come_in_order_and_as_if_each_were_alone(
    numbers: list[int | None], lanes: int
) -> None:
    given_edits = [None if number is None else EDITS[number] for number in numbers]
    with threads(1):
        found = list(by_length(lanes).run(enumerate(given_edits)))
    assert [tag for tag, _ in found] == list(range(len(numbers)))
    for (_, result), number in zip(found, numbers, strict=True):
        assert (None if result is None else result.tolist()) == (
            None if number is None else WANTED[number]
        )


@pytest.mark.parametrize("cores", [1, 2])
def test_the_number_of_cores_changes_no_token(cores: int) -> None:
    with threads(cores):
        lanes = ByLength[int](lambda length: Lanes(Masked(toy(), 2, length)), 2 * cores)
        found = [result for _, result in lanes.run(enumerate(EDITS))]
    assert [None if one is None else one.tolist() for one in found] == WANTED


@pytest.mark.parametrize("lanes", [1, 3])
def test_no_more_is_read_ahead_than_it_says(lanes: int) -> None:
    """Even behind a text of many calls that rides alone."""
    ahead, done = [], 0

    def edits() -> Iterator[tuple[int, MaskedEdit]]:
        yield 0, edit_of(0, 40, calls=30)
        for number in range(1, 100):
            ahead.append(number + 1 - done)
            yield number, EDITS[number % len(EDITS)]

    with threads(1):
        for _ in by_length(lanes).run(edits()):
            done += 1
    assert done == 100
    assert max(ahead) <= RUN_AHEAD * lanes


def test_a_result_does_not_wait_for_what_comes_long_after_it() -> None:
    def edits() -> Iterator[tuple[int, MaskedEdit | None]]:
        yield from [(0, None), (1, EDITS[0]), (2, EDITS[1]), (3, None)]
        for number in range(4, 10**9):
            yield number, EDITS[number % len(EDITS)]

    with threads(1):
        run = by_length(2).run(edits())
        assert [next(run)[0] for _ in range(50)] == list(range(50))


def test_calls_are_of_full_lanes_where_they_can_be() -> None:
    stepped: Stepped = []
    edits = [edit_of(number, LENGTHS[number % 3], calls=1) for number in range(36)]
    with threads(1):
        list(by_length(4, stepped).run(enumerate(edits)))
    assert {count for _, count in stepped} == {4}
    assert len(stepped) == 9


def test_most_lanes_are_full_in_a_long_mixed_stream() -> None:
    stepped: Stepped = []
    edits = stream(300, seed=1)
    with threads(1):
        list(by_length(4, stepped).run(enumerate(edits)))
    rows = sum(edit.calls for edit in edits)
    assert rows == sum(count for _, count in stepped)
    assert rows > 0.85 * 4 * len(stepped)


def test_an_abandoned_run_leaves_nothing_behind() -> None:
    stepped: Stepped = []
    with threads(1):
        steps = by_length(2, stepped)
        for _, _ in zip(range(3), steps.run(enumerate(stream(20, seed=2))), strict=False):
            pass
        stepped.clear()
        found = [result for _, result in steps.run(enumerate(EDITS))]
    assert [None if one is None else one.tolist() for one in found] == WANTED
    assert sum(count for _, count in stepped) == sum(edit.calls for edit in EDITS)


def test_parts_of_an_edit_are_joined_in_order() -> None:
    wholes: list[list[int] | None] = [[0, 1, 2], None, [3], [4, 5], None, [6]]

    def parts(numbers: list[int]) -> list[MaskedEdit]:
        return [EDITS[number] for number in numbers]

    def join(_: list[int], made: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(made)

    with threads(1):
        steps = InParts[int, list[int], MaskedEdit](by_length(2), parts, join)
        found = list(steps.run(enumerate(wholes)))
    assert [tag for tag, _ in found] == list(range(len(wholes)))
    for (_, result), whole in zip(found, wholes, strict=True):
        if whole is None:
            assert result is None
        else:
            assert result is not None
            assert result.tolist() == [one for number in whole for one in WANTED[number]]
