"""The policy of texts: lanes for each padded length, and results in the order of the edits.

A network call has one fixed shape, so a text rides with others of its length. The lanes of a length
step once they are full. Otherwise texts are read ahead, and when no more may be, those lanes step
that hold the first text that is still on its way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.masked import MaskedEdit
from diffaug.diffusion.ordered import RUN_AHEAD, Place, landed
from diffaug.diffusion.steps import Finished, Steps

__all__ = ["ByLength"]

T = TypeVar("T")


class ByLength(Steps[T, MaskedEdit]):
    """Runs texts of several padded lengths.

    Args:
        lanes: makes the lanes of a length.
        count: how many lanes a length has.
    """

    def __init__(self, lanes: Callable[[int], Lanes[Any]], count: int) -> None:
        self._make = lanes
        self._lanes: dict[int, Lanes[Place[T, MaskedEdit]]] = {}
        self._count = count

    @property
    def count(self) -> int:
        """How many texts of a length are worked on at the same time."""
        return self._count

    def run_steps(self, edits: Iterable[tuple[T, MaskedEdit | None]]) -> Iterator[Finished[T]]:
        """See `Steps`."""
        for lanes in self._lanes.values():
            lanes.clear()  # of what an abandoned run has left in them
        order: deque[Place[T, MaskedEdit]] = deque()
        waiting: dict[int, deque[tuple[Place[T, MaskedEdit], MaskedEdit]]] = {}
        source, most = iter(edits), RUN_AHEAD * self._count
        while True:
            length = None
            while length is None and len(order) < most:
                item = next(source, None)
                if item is None:
                    break
                tag, edit = item
                place = Place(tag, edit)
                order.append(place)
                if edit is not None:
                    waiting.setdefault(edit.length, deque()).append((place, edit))
                    length = edit.length if self._fills(edit.length, waiting) else None
                if finished := landed(order):
                    yield finished
            if length is None:
                length = next((one for one in waiting if self._fills(one, waiting)), None)
            if length is None:
                first = order[0].edit if order else None
                if first is None:
                    return
                if order[0].arrival is not None:  # it is on its way from the device
                    yield landed(order, wait=True)
                    continue
                length = first.length
            lanes = self._of(length)
            queue = waiting.get(length, deque())
            lanes.enter([queue.popleft() for _ in range(min(lanes.free, len(queue)))])
            for place, arrival in lanes.step():
                place.arrival = arrival
            if finished := landed(order, wait=len(order) >= most):
                yield finished

    def _of(self, length: int) -> Lanes[Place[T, MaskedEdit]]:
        if length not in self._lanes:
            self._lanes[length] = self._make(length)
        return self._lanes[length]

    def _fills(
        self, length: int, waiting: dict[int, deque[tuple[Place[T, MaskedEdit], MaskedEdit]]]
    ) -> bool:
        """Whether all lanes of a length have a text at the next step."""
        lanes = self._lanes.get(length)
        free = self._count if lanes is None else lanes.free
        return len(waiting.get(length, ())) >= free
