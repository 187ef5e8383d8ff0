"""Whole rounds of calls: which lanes wait for the next step, and that it changes no sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.process import Gaussian
from tests.diffusion.test_lanes import any_edits, counting, results, same
from tests.support.jobs import threads
from tests.support.toys import edit, toy

guided_edits = any_edits(scale=st.sampled_from([1, 2.5]), masked=st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(guided_edits, max_size=24), st.integers(1, 5), st.integers(1, 3))
def test_those_that_wait_for_a_round_are_as_if_alone(
    stream: list[Edit], batch_size: int, side_by_side: int
) -> None:
    with threads(side_by_side):
        together = results(toy(), batch_size, stream)
    for one, result in zip(stream, together, strict=True):
        assert same([result], results(toy(), batch_size, [one]))


@pytest.mark.parametrize(
    ("guided", "plain", "side_by_side", "rounds"),
    [
        (8, 0, 1, 12),  # 16 rows of 6 calls: 12 rounds of 8, with or without waiting
        (5, 0, 1, 8),  # 60 rows: 7.5 rounds; without waiting 12
        (6, 1, 1, 11),  # 78 rows: 9.75, and some of one at the end; without 12
        (9, 0, 2, 7),  # 108 rows of 16 a round: 6.75; without 12
    ],
)
def test_no_round_of_calls_is_mostly_padding(
    guided: int, plain: int, side_by_side: int, rounds: int
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    stream = [
        edit(seed, range(600, 0, -100), scale=2.5 if seed < guided else 1)
        for seed in range(guided + plain)
    ]
    with threads(side_by_side):
        made = results(counting(seen), 8, stream)
    assert same(made, [results(toy(), 8, [one])[0] for one in stream])
    assert -(-len(seen) // side_by_side) == rounds


@settings(max_examples=40, deadline=None)
@given(st.lists(guided_edits, min_size=1, max_size=24), st.integers(1, 5))
def test_nobody_waits_twice_in_a_row(stream: list[Edit], batch_size: int) -> None:
    """A step moves every sample that the step before it left where it was."""
    moved: list[set[int]] = []

    class Watched(Gaussian):
        def step(self, stepping: NDArray[np.bool_], call: NDArray[np.int64]) -> None:
            moved.append(set(np.flatnonzero(stepping).tolist()))
            super().step(stepping, call)

    with threads(1):
        lanes = Lanes[int](Watched(toy(), batch_size))
        waiting, left = list(stream), set[int]()
        while waiting or lanes.free < lanes.count:
            some = waiting[: lanes.free]
            waiting = waiting[len(some) :]
            lanes.enter(list(enumerate(some)))
            held = set(np.flatnonzero(lanes._calls > 0).tolist())
            lanes.step()
            assert left <= moved[-1] <= held
            left = held - moved[-1]
