"""Ordered: the policy of a job, which keeps the lanes full and the results in order.

It reads ahead of the lanes, waiting for its source where that is slower, and holds results back
until those before them are there: right for a stream that is all there, wrong for a service, whose
requests should neither wait for one another nor leave in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from diffaug.diffusion.lanes import Entry, Lanes
from diffaug.diffusion.steps import Finished, Steps
from diffaug.diffusion.transfer import Arrival

__all__ = ["RUN_AHEAD", "Ordered", "Place", "landed", "ordered"]

T = TypeVar("T")
E = TypeVar("E", bound=Entry)

LOOK_AHEAD = 2
"""How many samples a lane are read before they have one. They go in as they come; only when
the stream has ended do those of most calls go first, so that all lanes end at about one time."""

RUN_AHEAD = 8
"""How many finished samples a lane may wait for an unfinished one that came before them."""


class Ordered(Steps[T, Entry]):
    """Lanes under the policy of `ordered`.

    Args:
        lanes: nobody else's.
    """

    def __init__(self, lanes: Lanes[Any]) -> None:
        self._lanes = lanes

    @property
    def count(self) -> int:
        """How many lanes there are."""
        return self._lanes.count

    def run_steps(self, edits: Iterable[tuple[T, Entry | None]]) -> Iterator[Finished[T]]:
        """See `ordered`."""
        return ordered(self._lanes, edits)


@dataclass(slots=True, eq=False)
class Place(Generic[T, E]):
    """An edit's place in the order of results; without an edit it is done from the start."""

    tag: T
    edit: E | None
    arrival: Arrival | None = None

    def landed(self) -> bool:
        """Whether its result, if it has one, is on the CPU."""
        return self.edit is None or (self.arrival is not None and self.arrival.landed)

    def result(self) -> NDArray[np.float32] | None:
        """What came out of the lanes; waits until it has arrived."""
        return None if self.arrival is None else self.arrival.numpy()


def ordered(lanes: Lanes[Any], edits: Iterable[tuple[T, Entry | None]]) -> Iterator[Finished[T]]:
    """Run edits, and yield what each network call has finished, in the order of `edits`.

    LOOK_AHEAD samples a lane are read before lanes become free, and at most RUN_AHEAD a lane are
    under way, including those that wait for a slower one before them.

    Args:
        lanes: freed first of whatever an abandoned run has left in them.
        edits: (tag, edit); one without an edit passes through in its place.
    """
    lanes.clear()
    order: deque[Place[T, Any]] = deque()
    waiting: list[tuple[Place[T, Any], Entry]] = []
    look, most = LOOK_AHEAD * lanes.count, RUN_AHEAD * lanes.count
    source, ended = iter(edits), False
    while True:
        entering: list[tuple[Place[T, Any], Entry]] = []
        free = lanes.free
        while len(entering) < free:
            while not ended and len(order) < most and len(waiting) < look:
                item = next(source, None)
                if item is None:
                    ended = True
                    break
                tag, edit = item
                order.append(Place(tag, edit))
                if edit is not None:
                    waiting.append((order[-1], edit))
                if finished := landed(order):
                    yield finished
            if not waiting:
                break
            entering.append(waiting.pop(_longest(waiting) if ended else 0))
        lanes.enter(entering)
        running = lanes.free < lanes.count
        for place, arrival in lanes.step():
            place.arrival = arrival
        if not running and not order:
            return
        if finished := landed(order, wait=not running or len(order) == most):
            yield finished


def _longest(waiting: list[tuple[Place[T, Any], Entry]]) -> int:
    """Which edit needs most calls; of several, the first."""
    return max(range(len(waiting)), key=lambda index: waiting[index][1].calls)


def landed(order: deque[Place[T, Any]], wait: bool = False) -> Finished[T]:
    """Take finished places from the front; where `wait` is set, those still on their way too."""
    found = []
    while order and (order[0].landed() or (wait and order[0].arrival is not None)):
        place = order.popleft()
        found.append((place.tag, place.result()))
    return found
