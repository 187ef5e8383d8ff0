"""The lanes as a table of slots: for policies other than a job's, and processes without noise."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.process import Gaussian, Process
from diffaug.diffusion.transfer import Download
from tests.diffusion.test_lanes import results, same
from tests.support.jobs import threads
from tests.support.toys import edit, toy

CALLS = (3, 1, 5, 2, 2, 7, 1, 4)


def stream() -> list[Edit]:
    return [edit(seed, range(100 * calls, 0, -100)) for seed, calls in enumerate(CALLS)]


def serve(
    lanes: Lanes[int], requests: Sequence[tuple[int, int, Edit]]
) -> dict[int, NDArray[np.float32]]:
    """A service's policy: at each step take what has come, without waiting, and hand out what is
    done, in any order. A request is (step at which it comes, name, edit)."""
    coming, waiting = deque(requests), deque[tuple[int, Edit]]()
    found: dict[int, NDArray[np.float32]] = {}
    step = 0
    while coming or waiting or lanes.free < lanes.count:
        while coming and coming[0][0] <= step:
            waiting.append(coming.popleft()[1:])
        lanes.enter([waiting.popleft() for _ in range(min(lanes.free, len(waiting)))])
        for name, arrival in lanes.step():
            found[name] = arrival.numpy()
        step += 1
    return found


def test_requests_leave_when_they_are_done_with_the_same_bits() -> None:
    edits = stream()
    with threads(1):
        found = serve(Lanes(Gaussian(toy(), 3)), [(2 * i, i, one) for i, one in enumerate(edits)])
        wanted = results(toy(), 3, edits)
    assert list(found) != sorted(found)  # those of few calls overtake
    for name, result in found.items():
        assert same([result], [wanted[name]])


def test_what_is_free() -> None:
    with threads(1):
        lanes = Lanes[str](Gaussian(toy(), 3))
    assert (lanes.count, lanes.free) == (3, 3)
    assert lanes.step() == []
    lanes.enter([])
    one, _, long = stream()[:3]
    lanes.enter([("one", one), ("long", long)])
    assert lanes.free == 1
    with pytest.raises(ValueError, match="2 edits for 1 free lanes"):
        lanes.enter([("a", one), ("b", one)])
    assert [len(lanes.step()) for _ in range(3)] == [0, 0, 1]
    assert lanes.free == 2
    lanes.clear()
    assert lanes.free == 3
    assert lanes.step() == []


class Unmasking(Process[Edit]):
    """Masked diffusion over tokens: each call turns an even share of those still hidden, in the
    order of an edit's own uniform values, into what a "network" says, their place."""

    HIDDEN = -1

    def __init__(self, lanes: int, length: int) -> None:
        self.lanes = lanes
        self._tokens = torch.zeros((lanes, length), dtype=torch.int64)
        self._order = torch.zeros((lanes, length), dtype=torch.int64)
        self._calls = np.ones(lanes, dtype=np.int64)

    def enter(self, lanes: Sequence[int], edits: Sequence[Edit]) -> None:
        for lane, one in zip(lanes, edits, strict=True):
            self._tokens[lane] = self.HIDDEN
            self._order[lane] = torch.from_numpy(one.noise[0].ravel()).argsort()
            self._calls[lane] = one.trajectory.calls

    def rows(self, call: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.ones_like(call)

    def step(self, stepping: NDArray[np.bool_], call: NDArray[np.int64]) -> None:
        said = torch.arange(self._tokens.shape[1]).expand(self.lanes, -1)
        for lane in np.flatnonzero(stepping):
            shown = self._order[lane][int(call[lane]) :: int(self._calls[lane])]
            self._tokens[lane, shown] = said[lane, shown]

    def result(self, lanes: Sequence[int]) -> Download:
        return Download(self._tokens[list(lanes)])


def test_a_process_over_tokens_fits_into_the_same_lanes() -> None:
    lanes = Lanes[int](Unmasking(lanes=2, length=18))
    lanes.enter([(i, one) for i, one in enumerate(stream()[:2])])
    ((name, arrival),) = lanes.step()
    assert (name, arrival.numpy().tolist()) == (1, list(range(18)))
    assert lanes.step() == []
    ((name, arrival),) = lanes.step()
    assert (name, arrival.numpy().tolist()) == (0, list(range(18)))
